"""Where CuPy 14.2 stops short of numpy 2, as far as references might go. ``test_cupy_lacks`` compares with CuPy itself.

Read off ``hasattr(cupy, name)``, the signatures, and the source where it says "synchronize!".
"""

from __future__ import annotations

# numpy functions without a counterpart
FUNCTIONS = frozenset(
    {
        "block",
        "einsum_path",
        "frompyfunc",
        "geomspace",
        "insert",
        "isnat",
        "linalg.matrix_norm",
        "linalg.multi_dot",
        "linalg.outer",
        "linalg.svdvals",
        "linalg.tensordot",
        "linalg.vecdot",
        "linalg.vector_norm",
        "matvec",
        "nanpercentile",
        "nanquantile",
        "spacing",
        "unstack",
        "vecdot",
        "vecmat",
    }
)

# parameters that the counterpart does not take
PARAMETERS = {
    "argsort": ("order", "stable"),
    "clip": ("max", "min"),
    "isin": ("kind",),
    "linspace": ("device",),
    "max": ("initial", "where"),
    "mean": ("where",),
    "min": ("initial", "where"),
    "prod": ("initial", "where"),
    "sort": ("order", "stable"),
    "sum": ("initial", "where"),
    "take": ("mode",),
    "unique": ("sorted",),
}

# the ufuncs that have a method; those not named here raise NotImplementedError
METHODS_OF_UFUNCS = {
    "at": frozenset({"add", "bitwise_and", "bitwise_or", "bitwise_xor", "maximum", "minimum", "subtract"}),
    "reduce": frozenset({"add", "multiply"}),
    "accumulate": frozenset({"add", "multiply"}),
    "reduceat": frozenset({"add"}),
}

# ufuncs without a loop for bfloat16, of those that take floating-point numbers
UFUNCS_WITHOUT_BFLOAT16 = frozenset({"divmod", "float_power", "logical_not", "logical_xor"})

# functions that fetch a number from the device before they go on; sorting is counted in, for its scratch memory
FUNCTIONS_THAT_WAIT = frozenset(
    {
        "argpartition",
        "argsort",
        "argwhere",
        "bincount",
        "compress",
        "extract",
        "flatnonzero",
        "histogram",
        "isin",
        "lexsort",
        "nonzero",
        "partition",
        "place",
        "put",
        "ravel_multi_index",
        "sort",
        "trim_zeros",
        "unique",
        "unravel_index",
    }
)

# what computes in cuBLAS, cuSOLVER or cuFFT, by how the path begins
FUNCTIONS_OF_LIBRARIES = ("dot", "einsum", "fft.", "inner", "kron", "linalg.", "matmul", "tensordot", "vdot")
