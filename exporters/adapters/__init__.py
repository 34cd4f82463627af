"""Writes adapters alone: ``.safetensors`` under PEFT's names, or the ``.onnx_adapter`` that ONNX Runtime loads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from exporters.adapters.onnx_adapter import onnx_adapter
from exporters.adapters.peft import adapter_config, peft_tensors
from exporters.adapters.safetensors import safetensors
from exporters.onnx.files import Chunk, write_together
from importers.adapters.peft import CONFIG_FILE, CONFIG_KEY
from toolkit.errors import ModelError
from toolkit.graph.adapter_tensors import AdapterTensors

__all__ = ["save_adapter"]
PEFT_FILE = "adapter_model.safetensors"


class HasTensors(Protocol):
    """An adapter of a network (``toolkit.adapters.Adapter``)."""

    def tensors(self) -> AdapterTensors: ...


def save_adapter(
    adapter: HasTensors | AdapterTensors,
    path: str | os.PathLike[str],
    *,
    adapter_version: int = 1,
    model_version: int = 1,
) -> None:
    """Write an adapter alone; the file at ``path`` is replaced at once or not at all. The suffix tells the format.

    - ``.safetensors``: matrices under PEFT's names (``importers.adapters.peft``), the settings in the file's header,
      and in ``adapter_config.json`` beside a file that is called ``adapter_model.safetensors``, as PEFT has it
    - ``.onnx_adapter``: matrices for the optional inputs of ``toolkit.adapters.exposed(network)``, which ONNX Runtime
      feeds with ``RunOptions.add_active_adapter``; the versions are what that format has room for

    Raises ``ModelError`` for another suffix, or when the file cannot be written.
    """
    tensors = adapter if isinstance(adapter, AdapterTensors) else adapter.tensors()
    file = Path(path)
    contents: dict[str, list[Chunk]] = {}
    if file.suffix == ".safetensors":
        config = json.dumps(adapter_config(tensors))
        if file.name == PEFT_FILE:
            contents[str(file.with_name(CONFIG_FILE))] = [config.encode()]
        contents[str(file)] = [safetensors(peft_tensors(tensors), {"format": "pt", CONFIG_KEY: config})]
    elif file.suffix == ".onnx_adapter":
        contents[str(file)] = [onnx_adapter(tensors.inputs(), adapter_version, model_version)]
    else:
        raise ModelError(f"An adapter file ends with .safetensors or .onnx_adapter, got {str(file)!r}.")
    write_together(contents)
