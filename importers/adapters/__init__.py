"""Reads adapters from ``.safetensors`` (PEFT's names) and ``.onnx_adapter`` files; every file is untrusted."""

from __future__ import annotations

import os
from pathlib import Path

from importers.adapters.onnx_adapter import read_onnx_adapter
from importers.adapters.peft import read_peft
from toolkit.errors import ModelError
from toolkit.graph.adapter_tensors import AdapterTensors

__all__ = ["read_adapter"]


def read_adapter(path: str | os.PathLike[str]) -> AdapterTensors:
    """What an adapter file holds, for ``toolkit.adapters.attach(network, tensors)``.

    - ``.safetensors``: matrices under PEFT's names, its settings in the file's own header or in ``adapter_config.json``
      beside it
    - ``.onnx_adapter``: matrices for the inputs of a model made by ``toolkit.adapters.exposed``

    Raises ``ModelError`` when the file is missing, damaged, or something else.
    """
    file = Path(path)
    readers = {".safetensors": read_peft, ".onnx_adapter": read_onnx_adapter}
    if file.suffix not in readers:
        raise ModelError(f"An adapter file ends with {' or '.join(readers)}, got {str(file)!r}.")
    try:
        return readers[file.suffix](file)
    except OSError as error:
        raise ModelError(f"{str(file)!r} cannot be read: {error.strerror or error}. Check the path.") from error
