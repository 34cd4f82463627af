"""Quantised arithmetic: what becomes of integers of 8 bits, and of the products of them.

``arithmetic`` holds them as floats, ``pairs`` finds the grids of QDQ models, ``bytes`` goes on to bytes where a backend
multiplies these (``demand`` says which are wanted); ``products`` takes products apart for straight-through estimators.
"""
