"""Backends: kernels and memory of one device each. ``registry`` loads them when they are asked for."""
