"""A small classifier as a file, data it can learn, and the command line called in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from toolkit.cli import main

CLASSES = 3


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error; fails when there is not exactly one."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("run", model, "--input", file)``; usage errors become their status."""

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


def classifier(text: str = "") -> onnx.ModelProto:
    """float[N, 4] x through a hidden layer of 8 to scores of 3 classes; ``text`` replaces the graph."""
    body = text or (
        "classifier (float[N, 4] x) => (float[N, 3] scores) "
        "{ a = Gemm(x, w1, b1) h = Relu(a) scores = Gemm(h, w2, b2) }"
    )
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21, "com.example": 1]> {body}')
    random = np.random.default_rng(7)
    shapes = {"w1": (4, 8), "b1": (8,), "w2": (8, CLASSES), "b2": (CLASSES,)}
    for name, shape in shapes.items():
        if name in body:
            array = (random.standard_normal(shape) * 0.5).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The file of the classifier."""
    path = tmp_path / "model.onnx"
    path.write_bytes(classifier().SerializeToString())
    return path


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """Three clusters: x (150, 4) float32, y (150,) int64."""
    random = np.random.default_rng(3)
    y = np.arange(150) % CLASSES
    centres = np.array([[2, 0, 0, 1], [0, 2, 0, -1], [0, 0, 2, 0]])
    x = (centres[y] + 0.4 * random.standard_normal((150, 4))).astype(np.float32)
    return {"x": x, "y": y}


@pytest.fixture
def data(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """The clusters as an npz file."""
    path = tmp_path / "data.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path
