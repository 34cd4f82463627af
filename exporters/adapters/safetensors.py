"""The safetensors format: the inverse of the importer's."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from importers.adapters.safetensors import LENGTH, METADATA, TYPES
from toolkit.errors import ModelError

ALIGNMENT = 8  # of the first byte of data


def safetensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The content of a file. Raises ``ModelError`` for tensors of types that adapters do not have."""
    names = {dtype: name for name, dtype in TYPES.items()}
    header: dict[str, object] = {METADATA: dict(metadata)}
    start = 0
    for name, array in tensors.items():
        if array.dtype not in names:
            raise ModelError(f"Tensor {name!r} requires one of the types {', '.join(TYPES)}, got {array.dtype}.")
        end = start + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(LENGTH + len(text)) % ALIGNMENT)
    pieces = [array.tobytes() for array in tensors.values()]
    return b"".join([len(text).to_bytes(LENGTH, "little"), text, *pieces])
