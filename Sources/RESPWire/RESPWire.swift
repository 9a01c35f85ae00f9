// RESPWire
