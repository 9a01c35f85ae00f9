// RESPFront
