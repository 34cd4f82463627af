"""Convolutions with windows of one position, and their gradients, as products of seven parts instead of eight."""
