"""The CUDA backend: cuDNN, cublasLt and kernels of our own on one GPU, one file per operator family.

Nothing here touches a driver before the backend ``cuda`` is asked for.
"""

from toolkit.backends.cuda.library import unavailable_reason

__all__ = ["unavailable_reason"]
