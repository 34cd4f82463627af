"""Sums, extremes and the like over axes of a tensor."""
