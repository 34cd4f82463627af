"""The safetensors format: eight bytes with the length of a JSON header, the header, and the bytes of the tensors.

Nothing in it is executed, and nothing is believed: sizes are checked before memory is taken.
"""

from __future__ import annotations

import json
import math
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.errors import ModelError

TYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
LENGTH, LARGEST_HEADER, METADATA = 8, 100_000_000, "__metadata__"


def parse_safetensors(content: bytes, label: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata by name. Raises ``ModelError`` for anything that is not such a file."""
    length = int.from_bytes(content[:LENGTH], "little")
    if len(content) < LENGTH or length > min(LARGEST_HEADER, len(content) - LENGTH):
        raise _damaged(label, "its header is longer than the file")
    try:
        header = json.loads(content[LENGTH : LENGTH + length])
    except (ValueError, RecursionError) as error:
        raise _damaged(label, "its header is no JSON") from error
    if not isinstance(header, dict):
        raise _damaged(label, "its header is no JSON object")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict):
        raise _damaged(label, "its metadata is no JSON object")
    body = memoryview(content)[LENGTH + length :]
    tensors = {name: _tensor(body, entry, f"{label}: tensor {name!r}") for name, entry in header.items()}
    return tensors, {str(key): str(value) for key, value in metadata.items()}


def _tensor(body: memoryview, entry: Any, where: str) -> np.ndarray:
    try:
        name, shape, (start, end) = entry["dtype"], [int(size) for size in entry["shape"]], entry["data_offsets"]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise _damaged(where, "its entry needs dtype, shape and data_offsets") from error
    if name not in TYPES:
        raise ModelError(f"{where} requires one of the types {', '.join(TYPES)}, got {name!r}. Convert the adapter.")
    dtype = TYPES[name]
    whole = all(isinstance(number, int) for number in (start, end)) and 0 <= start <= end <= len(body)
    if not whole or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != end - start:
        raise _damaged(where, f"{shape} numbers of {name} do not lie at {start} to {end} of {len(body)} bytes")
    return np.frombuffer(body[start:end], dtype).reshape(shape)


def _damaged(where: str, why: str) -> ModelError:
    return ModelError(f"{where} is not a safetensors file, or is damaged: {why}. Save the adapter again.")
