"""Numbers, signatures and structures of the bindings against the headers that NVIDIA's wheels bring."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from enum import IntEnum
from functools import cache
from pathlib import Path

import pytest

from toolkit.backends.cuda import cublaslt, driver
from toolkit.backends.cuda.cudnn import functions, graph_constants, legacy_constants

_SPEC = importlib.util.find_spec("nvidia")
_FOLDERS = [] if _SPEC is None else [Path(item) for item in _SPEC.submodule_search_locations or ()]
CUDNN = next((item / "cudnn/include" for item in _FOLDERS if (item / "cudnn/include").is_dir()), None)
CUBLAS = next((item / "cu13/include" for item in _FOLDERS if (item / "cu13/include/cublasLt.h").is_file()), None)
needs_cudnn = pytest.mark.skipif(CUDNN is None, reason="nvidia-cudnn-cu13 is not installed")
needs_cublas = pytest.mark.skipif(CUBLAS is None, reason="nvidia-cublas is not installed")

CUDNN_HEADERS = ("cudnn_graph.h", "cudnn_ops.h", "cudnn_adv.h")
# What stands before and behind the names of each enumeration.
CUDNN_NAMES: dict[type[IntEnum], tuple[str, str]] = {
    graph_constants.DescriptorType: ("CUDNN_BACKEND_", "_DESCRIPTOR"),
    graph_constants.AttributeType: ("CUDNN_TYPE_", ""),
    graph_constants.DataType: ("CUDNN_DATA_", ""),
    graph_constants.ConvolutionMode: ("CUDNN_", ""),
    graph_constants.HeuristicMode: ("CUDNN_HEUR_MODE_", ""),
    graph_constants.NumericalNote: ("CUDNN_NUMERICAL_NOTE_", ""),
    graph_constants.PointwiseMode: ("CUDNN_POINTWISE_", ""),
    graph_constants.ReductionOperator: ("CUDNN_REDUCE_TENSOR_", ""),
    graph_constants.ResampleMode: ("CUDNN_RESAMPLE_", ""),
    graph_constants.PaddingMode: ("CUDNN_", ""),
    graph_constants.Attribute: ("CUDNN_ATTR_", ""),
    legacy_constants.SoftmaxAlgorithm: ("CUDNN_SOFTMAX_", ""),
    legacy_constants.SoftmaxMode: ("CUDNN_SOFTMAX_MODE_", ""),
    legacy_constants.BatchNormMode: ("CUDNN_BATCHNORM_", ""),
    legacy_constants.MathType: ("CUDNN_", ""),
    legacy_constants.RecurrentAlgorithm: ("CUDNN_RNN_ALGO_", ""),
    legacy_constants.RecurrentMode: ("CUDNN_", ""),
    legacy_constants.BiasMode: ("CUDNN_RNN_", ""),
    legacy_constants.DirectionMode: ("CUDNN_", ""),
    legacy_constants.InputMode: ("CUDNN_", ""),
    legacy_constants.ForwardMode: ("CUDNN_FWD_MODE_", ""),
    legacy_constants.SequenceLayout: ("CUDNN_RNN_DATA_LAYOUT_", ""),
    legacy_constants.WeightGradientMode: ("CUDNN_WGRAD_MODE_", ""),
}
CUBLAS_NAMES: dict[type[IntEnum], str] = {
    cublaslt.Epilogue: "CUBLASLT_EPILOGUE_",
    cublaslt.Compute: "CUBLAS_",
    cublaslt.DescriptorAttribute: "CUBLASLT_MATMUL_DESC_",
    cublaslt.LayoutAttribute: "CUBLASLT_MATRIX_LAYOUT_",
    cublaslt.PreferenceAttribute: "CUBLASLT_MATMUL_PREF_",
}


@cache
def text_of(folder: Path, *names: str) -> str:
    """Headers without their comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", "".join((folder / name).read_text() for name in names), flags=re.S)


@cache
def enumerators(text: str) -> dict[str, int]:
    """Every enumerator by name."""
    found: dict[str, int] = {}
    for body in re.findall(r"typedef enum\s*\w*\s*\{(.*?)\}", text, re.S):
        value = -1
        for item in body.split(","):
            match = re.fullmatch(r"\s*(\w+)(?:\s+CUDNN_DEPRECATED_ENUM)?\s*(?:=(.*))?\s*", item, re.S)
            if match is None:
                continue
            name, given = match.groups()
            value = value + 1 if given is None else evaluated(given, found)
            found[name] = value
    return found


def evaluated(text: str, known: dict[str, int]) -> int:
    """A sum of bits, each a number or the name of an enumerator."""
    total = 0
    for part in text.strip().strip("()").split("|"):
        word = part.strip()
        total |= known[word] if word in known else int(word.rstrip("uUlL") or 0, 0) if word[0].isdigit() else 0
    return total


@needs_cudnn
@pytest.mark.parametrize("kind", CUDNN_NAMES, ids=lambda kind: kind.__name__)
def test_cudnn_numbers(kind: type[IntEnum]) -> None:
    assert CUDNN is not None
    known = enumerators(text_of(CUDNN, *CUDNN_HEADERS))
    before, behind = CUDNN_NAMES[kind]
    assert {item.name: known[f"{before}{item.name}{behind}"] for item in kind} == {item.name: item for item in kind}


@needs_cudnn
def test_flags() -> None:
    assert CUDNN is not None
    flag = re.search(r"#define CUDNN_RNN_PADDED_IO_ENABLED \(1U << (\d+)\)", text_of(CUDNN, *CUDNN_HEADERS))
    assert flag is not None and 1 << int(flag[1]) == legacy_constants.PADDED_SEQUENCES


def test_every_enumeration_is_compared() -> None:
    defined = {
        item
        for module in (graph_constants, legacy_constants, cublaslt)
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, IntEnum) and item is not IntEnum
    }
    assert defined == {*CUDNN_NAMES, *CUBLAS_NAMES}


@needs_cublas
@pytest.mark.parametrize("kind", CUBLAS_NAMES, ids=lambda kind: kind.__name__)
def test_cublas_numbers(kind: type[IntEnum]) -> None:
    assert CUBLAS is not None
    known = enumerators(text_of(CUBLAS, "cublas_api.h", "cublasLt.h"))
    prefix = CUBLAS_NAMES[kind]
    assert {item.name: known[f"{prefix}{item.name}"] for item in kind} == {item.name: item for item in kind}


CUDNN_FUNCTIONS = functions.SIGNATURES | functions.ENQUEUED
CUBLAS_FUNCTIONS = cublaslt.SIGNATURES | cublaslt.UNCHECKED
LETTERS = {
    "int": "i",
    "int32_t": "i",
    "uint32_t": "u",
    "int64_t": "l",
    "uint64_t": "q",
    "size_t": "z",
    "float": "f",
    "double": "d",
    "unsigned long long": "q",
}
POINTERS = ("Handle_t", "Descriptor_t", "Stream_t", "Desc_t", "MatrixLayout_t", "Preference_t")


def letters_of(text: str, name: str) -> str:
    """The types of a declared function's arguments, as the bindings write them."""
    match = re.search(rf"\b{name}\s*\(([^;]*?)\)\s*;", text, re.S)
    assert match is not None, f"{name} is not declared"
    return "".join(letter_of(item) for item in match.group(1).split(","))


def letter_of(argument: str) -> str:
    if "*" in argument or "[" in argument:
        return "p"
    kind = re.sub(r"\bconst\b", "", argument).strip()
    kind = kind.rsplit(None, 1)[0].strip() if " " in kind else kind
    if kind in LETTERS:
        return LETTERS[kind]
    return "p" if kind.endswith(POINTERS) else "i"  # what is left are enumerations


@needs_cudnn
@pytest.mark.parametrize("name", CUDNN_FUNCTIONS)
def test_cudnn_signatures(name: str) -> None:
    assert CUDNN is not None
    declared = letters_of(text_of(CUDNN, *CUDNN_HEADERS), name)
    assert CUDNN_FUNCTIONS[name] == declared


@needs_cublas
@pytest.mark.parametrize("name", CUBLAS_FUNCTIONS)
def test_cublas_signatures(name: str) -> None:
    assert CUBLAS is not None
    declared = letters_of(text_of(CUBLAS, "cublasLt.h"), name)
    assert CUBLAS_FUNCTIONS[name] == declared


@needs_cublas
@pytest.mark.parametrize("name", driver.SIGNATURES)
def test_driver_signatures(name: str) -> None:
    assert CUBLAS is not None
    text = text_of(CUBLAS, "cuda.h").replace("CUdeviceptr", "uint64_t").replace("unsigned int", "uint32_t")
    for kind in ("CUstream", "CUevent"):
        text = re.sub(rf"\b{kind}\b", "CUhandle_t", text)
    declared = letters_of(text, name.removesuffix("_v2"))
    assert driver.SIGNATURES[name] == declared.replace("i", "p")  # handles are no enumerations here


@needs_cublas
def test_the_result_of_the_heuristics_has_the_declared_fields() -> None:
    assert CUBLAS is not None
    text = text_of(CUBLAS, "cublasLt.h")
    match = re.search(r"typedef struct \{([^}]*)\} cublasLtMatmulHeuristicResult_t", text)
    assert match is not None
    fields = [re.sub(r"\s+", " ", item).strip() for item in match.group(1).split(";") if item.strip()]
    assert fields == [
        "cublasLtMatmulAlgo_t algo",
        "size_t workspaceSize",
        "cublasStatus_t state",
        "float wavesCount",
        "int reserved[4]",
    ]
    size = re.search(r"typedef struct \{\s*uint64_t data\[(\d+)\];\s*\} cublasLtMatmulAlgo_t", text)
    assert size is not None
    assert ctypes.sizeof(cublaslt._Heuristic) == 8 * int(size.group(1)) + 8 + 4 + 4 + 4 * 4


@needs_cublas
def test_element_types() -> None:
    assert CUBLAS is not None
    known = enumerators(re.sub("typedef enum cudaDataType_t", "typedef enum", text_of(CUBLAS, "library_types.h")))
    names = {"float32": "CUDA_R_32F", "float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF"}
    assert {dtype.name: number for dtype, number in cublaslt.DATA_TYPES.items()} == {
        dtype: known[name] for dtype, name in names.items()
    }
