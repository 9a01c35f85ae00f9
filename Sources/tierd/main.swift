// tierd
