"""Adapters under the names that PEFT gives them, and its settings.

``base_model.model.MODULE.lora_A.weight`` (rank, in), ``...lora_B.weight`` (out, rank),
``...lora_magnitude_vector`` (out); the matrices of convolutions have their spatial axes behind. MODULE is the path of
the layer with dots, without the name of the operator.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from importers.adapters.safetensors import parse_safetensors
from toolkit.errors import ModelError
from toolkit.graph.adapter_tensors import FIRST, MAGNITUDE, SECOND, AdapterTensors

PREFIX, CONFIG_KEY, CONFIG_FILE = "base_model.model.", "adapter_config", "adapter_config.json"
KEY = re.compile(rf"^(?:{re.escape(PREFIX)})?(.+)\.({FIRST}|{SECOND}|{MAGNITUDE})(?:\.[^.]+)??(?:\.weight)?$")


def read_peft(path: Path) -> AdapterTensors:
    """An adapter from a ``.safetensors`` file. Raises ``ModelError``."""
    tensors, metadata = parse_safetensors(path.read_bytes(), repr(str(path)))
    config = _config(path, metadata)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in tensors.items():
        found = KEY.match(name)
        if found is None:
            raise ModelError(
                f"{str(path)!r}: the tensor {name!r} is no matrix of an adapter, called MODULE.{FIRST}.weight or "
                f"MODULE.{SECOND}.weight. Other kinds of adapters, and embeddings in them, are not supported."
            )
        layers.setdefault(found[1], {})[found[2]] = _turned(array, found[2])
    incomplete = [module for module, matrices in layers.items() if not {FIRST, SECOND} <= matrices.keys()]
    if incomplete or not layers:
        raise ModelError(f"{str(path)!r} must hold {FIRST} and {SECOND} of each module; {incomplete[:3]} lack one.")
    rank = next(iter(layers.values()))[SECOND].shape[0 if _is_matrix(layers) else 1]
    kind = "dora" if any(MAGNITUDE in matrices for matrices in layers.values()) else "lora"
    numbers = [_number(path, config, key, default) for key, default in (("lora_alpha", rank), ("lora_dropout", 0.0))]
    alpha = numbers[0] * (rank**0.5 if config.get("use_rslora") else 1.0)
    return AdapterTensors(kind, rank, alpha, numbers[1], layers=layers)


def _is_matrix(layers: dict[str, dict[str, np.ndarray]]) -> bool:
    return next(iter(layers.values()))[SECOND].ndim == 2


def _turned(array: np.ndarray, kind: str) -> np.ndarray:
    return array.T if array.ndim == 2 and kind != MAGNITUDE else array


def _config(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    beside = path.with_name(CONFIG_FILE)
    text = metadata.get(CONFIG_KEY) or (beside.read_text(encoding="utf-8") if beside.exists() else "{}")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The settings of {str(path)!r} are no JSON ({error}). Save the adapter again.") from error
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise ModelError(f"{str(path)!r} must be an adapter of the kind LORA, its settings say {str(config)[:80]}.")
    return config


def _number(path: Path, config: dict[str, Any], key: str, default: float) -> float:
    found = config.get(key, default)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ModelError(f"The settings of {str(path)!r} need a number as {key}, got {found!r}.")
    return float(found)
