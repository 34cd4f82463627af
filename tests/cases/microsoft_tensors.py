"""Cases of ``toolkit.operators.microsoft.tensors``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.case import Case, Given, constant, integers, uniform, variable


def row(name: str, *inputs: Given | None, note: str = "", **given: Any) -> Case:
    """One row; settings of the case are told from attributes by their names."""
    settings = {key: given.pop(key) for key in ("judge", "outputs", "tolerance", "is_data_dependent") if key in given}
    return Case(
        name, list(inputs), given, version=1, domain="com.microsoft", note=note, gradient_tolerance=1e-4, **settings
    )


def invertible() -> Given:
    """Matrices with a large diagonal."""
    return Given(lambda random, batch: (random.uniform(-1, 1, (batch, 3, 3)) + 4 * np.eye(3)).astype(np.float32))


def judge_complex(is_conjugate: bool) -> Any:
    def judge(a: Any, b: Any) -> np.ndarray:
        first, second = (item[..., 0] + 1j * item[..., 1] for item in (a, b))
        product = first * (second.conj() if is_conjugate else second)
        return np.stack([product.real, product.imag], axis=-1).astype(np.float32)

    return judge


def judge_rfft(x: Any, *, signal_ndim: int = 1) -> np.ndarray:
    found = np.fft.rfftn(x, axes=range(x.ndim - signal_ndim, x.ndim))
    return np.stack([found.real, found.imag], axis=-1).astype(np.float32)


def judge_irfft(x: Any, *, signal_ndim: int) -> np.ndarray:
    numbers = x[..., 0] + 1j * x[..., 1]
    return np.fft.irfftn(numbers, axes=range(numbers.ndim - signal_ndim, numbers.ndim)).astype(np.float32)


PAIRS = uniform("N", 3, 2)
CASES = [
    row("Trilu", uniform("N", 3, 4)),
    row("Trilu", uniform("N", 3, 4), constant(-1), upper=0, note="lower"),
    row("GatherND", uniform(4, 3, 2), integers("N", 2, low=0, high=3)),
    row("GridSample", uniform("N", 2, 4, 4), uniform("N", 3, 3, 2, low=-0.9, high=0.9), align_corners=1),
    row("ExpandDims", uniform("N", 3), constant([-1], "int32")),
    row("ExpandDims", uniform("N", 3), constant(1, "int32"), note="middle"),
    row("Pad", uniform("N", 3), constant([0, 1, 0, 2])),
    row("Pad", uniform("N", 4), constant([[0, 1, 0, 2]]), mode="reflect", note="reflect"),
    row("Range", constant(2), constant(9), constant(3)),
    row("Range", variable(2), constant(9), note="unknown start", is_data_dependent=True),
    row("UnfoldTensor", uniform("N", 7, 2), dim=1, size=3, step=2),
    row("UnfoldTensor", uniform("N", 5), size=2, note="last axis"),
    row("TorchEmbedding", uniform(5, 3), integers("N", 2, low=0, high=5), judge=lambda table, index: table[index]),
    row("ComplexMul", PAIRS, PAIRS, judge=judge_complex(False)),
    row("ComplexMulConj", PAIRS, PAIRS, judge=judge_complex(True)),
    row("Rfft", uniform("N", 8), judge=judge_rfft),
    row("Rfft", uniform("N", 4, 6), signal_ndim=2, judge=judge_rfft, note="two axes"),
    row("Irfft", uniform("N", 5, 2), signal_ndim=1, judge=judge_irfft),
    row("Irfft", uniform("N", 4, 4, 2), signal_ndim=2, judge=judge_irfft, note="two axes"),
    row("CDist", uniform("N", 4), uniform(3, 4)),
    row("CDist", uniform("N", 4), uniform(3, 4), metric="euclidean", note="euclidean"),
    row("Inverse", invertible(), tolerance=1e-4),
    row("Unique", variable([3.0, 1.0, 1.0, 2.0, 3.0]), outputs=3),
    row("IsAllFinite", uniform("N"), uniform(2), judge=lambda *inputs: np.asarray(True)),
    row("IsAllFinite", variable([1.0, np.inf]), isnan_only=1, judge=lambda x, isnan_only: np.asarray(True), note="NaN"),
    row(
        "IsAllFinite", variable([1.0, np.inf]), isinf_only=1, judge=lambda x, isinf_only: np.asarray(False), note="inf"
    ),
]
