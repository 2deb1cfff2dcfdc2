"""What computes: choice, faults, memory, precision, the way to the host."""
