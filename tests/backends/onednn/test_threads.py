"""Small nodes are made for one thread, their steps say so, and a run changes the number only where it has to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolkit.backends import onednn

if not onednn.available():
    pytest.skip("needs oneDNN on this machine", allow_module_level=True)

from tests.backends.onednn.driver import BACKEND, node_of, resources
from toolkit.backends.onednn import threads
from toolkit.backends.onednn.threads import Alone, is_small
from toolkit.backends.protocol import Bracket, Bracketed, Resources, plain
from toolkit.runtime.schedule import joined

SAME = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
ROWS: list[tuple[str, list[tuple[int, ...]], dict[str, Any], bool]] = [
    ("Add", [(4096,), (4096,)], {}, True),
    ("Add", [(1 << 17,), (1 << 17,)], {}, False),
    ("Sigmoid", [(4096,)], {}, True),
    ("Sigmoid", [(1 << 15,)], {}, False),
    ("MatMul", [(16, 64), (64, 64)], {}, True),
    ("MatMul", [(64, 256), (256, 256)], {}, False),
    ("MatMul", [(1, 512), (512, 512)], {}, False),
    ("Conv", [(1, 8, 16, 16), (8, 8, 3, 3)], SAME, True),
    ("Conv", [(1, 32, 28, 28), (32, 32, 3, 3)], SAME, False),
    ("ConvTranspose", [(1, 4, 8, 8), (4, 4, 2, 2)], {"kernel_shape": [2, 2]}, True),
    ("MaxPool", [(1, 8, 8, 8)], {"kernel_shape": [2, 2]}, True),
    ("AveragePool", [(1, 64, 32, 32)], {"kernel_shape": [3, 3]}, False),
    ("Softmax", [(8, 64)], {}, True),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{name}-{shapes[0]}" for name, shapes, *_ in ROWS])
def test_small_nodes_are_made_for_one_thread(row: tuple[str, list[tuple[int, ...]], dict[str, Any], bool]) -> None:
    op_type, shapes, attributes, small = row
    node = node_of(op_type, [np.zeros(shape, np.float32) for shape in shapes], attributes)
    layouts = [plain(np.dtype(np.float32), shape) for shape in shapes]
    assert is_small(node) == small
    assert isinstance(BACKEND.lower(node, layouts, resources()), Alone) == small
    assert not isinstance(BACKEND.lower(node, layouts, Resources(1)), Alone)


@pytest.mark.parametrize("hidden", [8, 256])
def test_recurrent_layers_are_small_by_their_steps(hidden: int) -> None:
    shapes = [(5, 1, 8), (1, 8, 4, hidden), (1, hidden, 4, hidden)]
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    for outputs in (3, 4):  # the fourth is what training keeps
        node = node_of("Recurrent", arrays, {"kind": "LSTM"}, domain="toolkit", outputs=outputs)
        assert is_small(node) == (hidden == 8 and outputs == 3)


def test_what_is_not_listed_is_not_small() -> None:
    node: Any = SimpleNamespace(op_type="Unheard", inputs=[], outputs=[SimpleNamespace(size=1)])
    assert not is_small(node)


def test_an_alone_step_changes_the_number_and_changes_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(threads, "load", lambda: SimpleNamespace(set_thread_count=told.append))
    threads._one_thread.cache_clear()
    inner: Any = SimpleNamespace(
        name="it",
        inputs=[],
        outputs=[],
        workspace=0,
        is_free=False,
        is_shared=True,
        in_place=(),
        accumulates=None,
        aliases=(),
    )
    inner.bind = lambda *_: lambda: told.append(0) or 7
    assert Alone(inner, 5).bind([], [], None)() == 7
    assert told == [1, 0, 5]
    threads._one_thread.cache_clear()


def test_brackets_are_opened_once_for_steps_that_follow_each_other() -> None:
    told: list[str] = []

    def say(word: str) -> Callable[[], None]:
        return lambda: told.append(word)

    bracket, other = Bracket(say("("), say(")")), Bracket(say("["), say("]"))
    bare, number = SimpleNamespace(backend="cpu"), SimpleNamespace(backend="numpy")
    steps: list[Any] = [
        (say("a"), bare),
        (Bracketed(say("b"), bracket), bare),
        (say("n"), number),
        (Bracketed(say("c"), bracket), bare),
        (say("n"), number),
        (say("d"), bare),
        (Bracketed(say("e"), bracket), bare),
        (Bracketed(say("f"), other), bare),
    ]
    for step in joined(steps, "numpy"):
        step()
    assert "".join(told) == "a(bncn)d(e)[f]"
