"""PEFT's names and settings for an adapter: the inverse of the importer's."""

from __future__ import annotations

from typing import Any

import numpy as np

from importers.adapters.peft import PREFIX
from toolkit.graph.adapter_tensors import MAGNITUDE, AdapterTensors


def peft_tensors(adapter: AdapterTensors) -> dict[str, np.ndarray]:
    """The matrices by name, in PEFT's orientation."""
    found = {}
    for path, matrices in adapter.layers.items():
        module = adapter.modules.get(path, path.strip("/").replace("/", "."))
        for kind, array in matrices.items():
            key = f"{PREFIX}{module}.{kind}"
            if kind == MAGNITUDE:
                found[key] = array.reshape((1, -1, *(1,) * (array.ndim - 2)) if array.ndim > 2 else -1)
            else:
                found[f"{key}.weight"] = array.T if array.ndim == 2 else array
    return found


def adapter_config(adapter: AdapterTensors) -> dict[str, Any]:
    """What PEFT keeps in ``adapter_config.json``."""
    return {
        "peft_type": "LORA",
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "use_dora": adapter.kind == "dora",
        "target_modules": sorted(adapter.modules.get(path, path) for path in adapter.layers),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "base_model_name_or_path": None,
        "task_type": None,
    }
