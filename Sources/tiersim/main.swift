// tiersim
