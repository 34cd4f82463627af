"""What ``bench`` measures: the model files that its words name, and the arrays that each of them is fed.

Arrays are those that the user gives, those recorded beside the model, or numbers drawn at random; never a mixture.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.cli.arrays import read
from toolkit.cli.feeds import Arrays, read_inputs
from toolkit.cli.options import DIM_HINT
from toolkit.compiler.sizes import input_shapes
from toolkit.errors import InputError
from toolkit.graph import Network
from toolkit.runtime.lossless import feeds_of

RECORDED = "in:"  # before the name of an input in a file of recorded inputs and outputs


def model_files(words: Sequence[str]) -> list[Path]:
    """The files named, and all ``.onnx`` files below the folders named. Raises ``InputError`` for a folder without."""
    found: list[Path] = []
    for word in words:
        path = Path(word)
        inside = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"There is no .onnx file in the folder {word!r} or below: name the files.")
        found += inside
    return list(dict.fromkeys(found))


def titles(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths, without suffix and shared file name, that tell the files apart."""
    ends = [(*path.resolve().parent.parts, path.stem) for path in paths]
    if len(ends) > 1 and len({end[-1] for end in ends}) == 1:
        ends = [end[:-1] for end in ends]
    names: list[str] = []
    for depth in range(1, 1 + max(map(len, ends), default=0)):
        names = ["/".join(end[-depth:]) for end in ends]
        if len(set(names)) == len(names):
            break
    return names


def all_feeds(network: Network, path: Path, options: argparse.Namespace) -> list[Arrays]:
    """One set of feeds for each batch size.

    Given with ``--input``; else, unless sizes are asked for, recorded beside the model; else numbers of a normal
    distribution, and 0 and 1 for integers. Raises ``InputError`` for open sizes and for inputs that are no tensors.
    """
    if options.input:
        return [read_inputs(network, options.input)]
    if options.batch_size is None and not options.dim:
        recorded = recorded_feeds(network, path.parent)
        if recorded is not None:
            return [recorded]
    return [
        _drawn(network, size, dict(options.dim))
        for size in batch_sizes("1" if options.batch_size is None else options.batch_size)
    ]


def batch_sizes(text: str) -> list[int]:
    """The sizes of ``--batch-size``."""
    words = text.split(",")
    if not all(word.strip().isdigit() and int(word) >= 1 for word in words):
        raise InputError(f"--batch-size {text}: whole numbers of at least 1 with commas between.")
    return [int(word) for word in words]


def recorded_feeds(network: Network, folder: Path) -> Arrays | None:
    """Arrays ``in:NAME`` for all inputs from the first npz file of a folder that holds them, ``None`` without one."""
    wanted = {f"{RECORDED}{name}" for name in network.inputs}
    for path in sorted(folder.glob("*.npz")):
        if not zipfile.is_zipfile(path):
            continue
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
        if {name for name in held if name.startswith(RECORDED)} == wanted:
            content = read(str(path))
            assert isinstance(content, dict)
            return feeds_of(network, {name: content[f"{RECORDED}{name}"] for name in network.inputs})
    return None


def _drawn(network: Network, batch_size: int, dims: dict[str, int]) -> Arrays:
    random = np.random.default_rng(0)
    try:
        shapes = input_shapes(network, batch_size, dims)
    except InputError as error:
        raise InputError(f"{error}{DIM_HINT}") from error
    return {name: _random(random, network, name, shape) for name, shape in shapes.items()}


def _random(random: np.random.Generator, network: Network, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    dtype = network.inputs[name].dtype
    if dtype is None or shape is None or dtype.kind not in "iubfV":
        raise InputError(f"Input {name!r} {network.inputs[name].describe()}: pass real data with --input.")
    drawn = random.integers(0, 2, shape) if dtype.kind in "iub" else random.standard_normal(shape, np.float32)
    return drawn.astype(dtype)
