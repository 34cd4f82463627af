"""Kernels that are written for a program's nodes, for the shapes they have, and compiled by LLVM.

``assembly`` is what a kernel is written with, ``compilation`` makes functions of it; every other package has the
kernels of a family of operators, which ``registry`` collects. ``selection`` says which nodes come here, ``sequence``
makes one call of several kernels.
"""

from toolkit.backends.native.compilation.compiler import unavailable_reason

__all__ = ["unavailable_reason"]
