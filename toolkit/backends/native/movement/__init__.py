"""Tensors whose elements move and do not change."""
