"""Checkpoints: everything a training run needs to go on, in one file that is either the old or the new one, never half.

The format is numpy's ``.npz`` without pickled objects: ``header`` is JSON (format, names, types, progress), the
members ``p0, p1, ...`` are parameters, ``s0, s1, ...`` optimizer slots and ``a0, a1, ...`` arrays of the run, in the
order of the header's lists. Element types that numpy's format does not know (bfloat16) are stored as the unsigned
integers of the same bytes.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from toolkit.errors import TrainingError
from toolkit.files import replacing
from toolkit.graph.parameter import Parameter

FORMAT = "onnx-toolkit checkpoint 2"


@dataclass(slots=True)
class Checkpoint:
    """``parameters`` by name, optimizer ``state`` by ``slot/parameter``, ``progress`` (JSON: steps, epochs, ...).

    ``run`` (JSON) and ``arrays`` say where a ``fit`` was that saved itself: the data, the figures, the best weights.
    """

    parameters: dict[str, np.ndarray]
    state: dict[str, np.ndarray] = field(default_factory=dict)
    progress: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def require_same(self, parameters: Mapping[str, Parameter], where: str) -> None:
        """Raise ``TrainingError`` unless it is of ``parameters`` of these names, shapes and types."""
        wrong = [
            name
            for name in {**parameters, **self.parameters}
            if name not in parameters
            or name not in self.parameters
            or (parameters[name].shape, parameters[name].dtype)
            != (self.parameters[name].shape, self.parameters[name].dtype)
        ]
        if wrong:
            raise TrainingError(
                f"Checkpoint {where!r} belongs to another network: {len(wrong)} parameters differ in name, shape or "
                f"type, among them {wrong[:3]}. Load the network that it was saved with."
            )


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write ``path`` atomically: to a temporary file beside it, which then takes its name."""
    header = {
        "format": FORMAT,
        "parameters": _listing(checkpoint.parameters),
        "state": _listing(checkpoint.state),
        "arrays": _listing(checkpoint.arrays),
        "progress": checkpoint.progress,
        "run": checkpoint.run,
    }
    members = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    members |= {f"p{index}": _plain(array) for index, array in enumerate(checkpoint.parameters.values())}
    members |= {f"s{index}": _plain(array) for index, array in enumerate(checkpoint.state.values())}
    members |= {f"a{index}": _plain(array) for index, array in enumerate(checkpoint.arrays.values())}
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **members)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what ``save_checkpoint`` wrote. Raises ``TrainingError`` when the file is missing or something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            if header["format"] != FORMAT:
                raise TrainingError(f"{os.fspath(path)!r} is a {header['format']!r}, this version reads {FORMAT!r}.")
            parameters = _members(archive, "p", header["parameters"])
            state = _members(archive, "s", header["state"])
            arrays = _members(archive, "a", header["arrays"])
            return Checkpoint(parameters, state, header["progress"], header["run"], arrays)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint {os.fspath(path)!r}: check the path.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(
            f"{os.fspath(path)!r} is not a checkpoint of this toolkit, or is damaged ({error}). "
            "Use a file that save_checkpoint wrote."
        ) from error


def _listing(arrays: Mapping[str, np.ndarray]) -> list[list[str]]:
    return [[name, array.dtype.name] for name, array in arrays.items()]


def _members(archive: Mapping[str, np.ndarray], prefix: str, listing: list[list[str]]) -> dict[str, np.ndarray]:
    return {name: _typed(archive[f"{prefix}{index}"], dtype) for index, (name, dtype) in enumerate(listing)}


def _plain(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "biufc" else array.view(np.dtype(f"u{array.dtype.itemsize}"))


def _typed(array: np.ndarray, name: str) -> np.ndarray:
    dtype = np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)
    return array if array.dtype == dtype else array.view(dtype)
