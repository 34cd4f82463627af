"""Convolutions with windows of one position, and their gradients, by seven products instead of eight (Strassen's)."""
