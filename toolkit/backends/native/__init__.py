"""Kernels that are written for a program's small nodes and compiled by LLVM: one module per operator family."""

from toolkit.backends.native.library import unavailable_reason

__all__ = ["unavailable_reason"]
