"""Recurrent layers that stand on each other: one call of cuDNN for all of them, and which ones stay apart."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cuda.test_recurrent import GATES, Lowered, arranged, check, learning, needs_compiler
from tests.support.interpret import interpret
from toolkit import layers
from toolkit.autodiff import differentiate
from toolkit.backends.cuda.recurrent import share_weights
from toolkit.backends.cuda.recurrent_weights import weights_of
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.training_pipeline import tidy_after_differentiation

STEPS, BATCH, SIZE, HIDDEN = 4, 3, 5, 6
Array = np.ndarray


class Stack:
    """Layers in a program, with what they read; ``learn`` adds gradients of ``what``: weights, and x if it says so."""

    def __init__(
        self, kind: str, direction: str = "forward", depth: int = 2, *, bias: bool = True, **more: Any
    ) -> None:
        self.program = Program(layer="stack")
        self.given: dict[Variable, Array] = {}
        self.random = np.random.default_rng(0)
        directions, gates = 2 if direction == "bidirectional" else 1, GATES[kind]
        self.x = flowing = self.operand(STEPS, BATCH, SIZE)
        self.weights: list[Variable] = []
        self.nodes: list[Node] = []
        for _ in range(depth):
            own = [self.operand(directions, width, gates, HIDDEN) for width in (flowing.shape[2], HIDDEN)]
            own += [self.operand(directions, gates + (kind == "LinearGRU"), HIDDEN)] if bias else []
            attributes = {"kind": kind, "direction": direction, **more}
            names = [f"y{len(self.nodes)}", *(f"{state}{len(self.nodes)}" for state in "hc"[: 1 + (kind == "LSTM")])]
            names.append(f"kept{len(self.nodes)}")
            node = self.program.append("Recurrent", [flowing, *own], attributes, domain="toolkit", outputs=names)
            self.nodes.append(node)
            self.weights += own
            flowing = node.y
        self.program.outputs["y"] = self.y = flowing

    def operand(self, *shape: int) -> Variable:
        made = Variable(f"given {len(self.given)}", np.dtype(np.float32), shape)
        self.given[made] = self.random.uniform(-0.5, 0.5, shape).astype(np.float32)
        self.program.inputs[made.name] = made
        return made

    def learn(self, *more: Variable) -> None:
        wrt = [*self.weights, *more]
        grads = differentiate(self.program, {self.y: self.operand(*self.y.shape)}, wrt)
        self.program.outputs.update((f"gradient of {item.name}", grads[item]) for item in wrt)
        tidy_after_differentiation(self.program)

    def lowered(self, name: str = "") -> Lowered:
        """With what the references give."""
        wanted = list(self.program.outputs.values())
        expected = interpret(self.program, self.given, wanted)
        return Lowered(name, self.program, self.given, dict(zip(wanted, expected, strict=True)))


def counts(row: Lowered) -> tuple[int, int]:
    """How many layers and gradients are left."""
    names = [node.op_type for node in row.program.nodes]
    return names.count("Recurrent"), names.count("RecurrentGradient")


@needs_compiler
def test_stacks_and_their_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for kind, direction, learns in product(GATES, ("forward", "reverse", "bidirectional"), (True, False)):
        more: dict[str, Any] = {"lengths": [2, STEPS, 1]} if kind == "LSTM" and learns else {}
        stack = Stack(kind, direction, 3 if direction == "forward" else 2, bias=kind != "Tanh", **more)
        if learns:
            stack.learn(*([stack.x] if kind != "Relu" else []))
        rows.append(stack.lowered(f"{kind} {direction}{' learns' * learns}"))
        assert counts(rows[-1]) == (1, int(learns))
        assert [node.op_type for node in rows[-1].program.nodes][:2] == ["RecurrentWeights", "Recurrent"]
    check(rows, tmp_path, monkeypatch)


def read_by_others(stack: Stack) -> None:
    stack.program.outputs["middle"] = stack.nodes[0].y


def with_last_state(stack: Stack) -> None:
    state = stack.nodes[1].outputs[1]
    assert state is not None
    stack.program.outputs["state"] = state


def begun(stack: Stack) -> None:
    node = stack.nodes[1]
    node.inputs = [*node.inputs, stack.operand(1, BATCH, HIDDEN), stack.operand(1, BATCH, HIDDEN)]


def half_frozen(stack: Stack) -> None:
    stack.weights = stack.weights[3:]
    stack.learn()


def of_another_kind(stack: Stack) -> None:
    stack.nodes[1].attributes["direction"] = "reverse"


CHANGES = (read_by_others, with_last_state, begun, half_frozen, of_another_kind)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_layers_that_stay_apart(change: Any) -> None:
    stack = Stack("LSTM")
    change(stack)
    assert counts(stack.lowered())[0] == 2


def test_states_that_are_zero_do_not_keep_layers_apart() -> None:
    stack = Stack("LSTM")
    zeros = [Variable(f"zero {index}", np.dtype(np.float32), (1, BATCH, HIDDEN)) for index in range(2)]
    for item in zeros:
        item.constant = np.zeros(item.shape, np.float32)
    stack.nodes[0].inputs = [*stack.nodes[0].inputs, *zeros]
    assert counts(stack.lowered()) == (1, 0)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both ways"])
def test_a_stack_is_one_step_of_a_plan_and_its_gradient_another(bidirectional: bool) -> None:
    network = layers.Sequential([layers.LSTM(HIDDEN, 3, bidirectional)]).network((STEPS, SIZE))
    assert names_of(optimise_for_inference(bind(network, BATCH))) == ["cudnnRNNForward"]
    names = names_of(learning(network))
    assert [name.split()[0] for name in names] == ["cudnnRNNForward", "cudnnRNNBackwardData"]


def names_of(program: Program) -> list[str]:
    """The kernels of a plan that are recurrent functions of cuDNN."""
    return [task.kernel.name for task in arranged(program).tasks if "RNN" in task.kernel.name]


def test_layers_are_joined_again_in_a_schedule_that_has_them_apart() -> None:
    """As when the memory of several schedules is measured before one is taken."""
    stack = Stack("LSTM")
    stack.learn()
    before = list(stack.program.nodes)
    for _ in range(2):
        stack.program.nodes = list(before)
        for node in stack.program.nodes:
            node.backend = "cuda"
        share_weights(stack.program, "cuda")
        readers = [node for node in stack.program.nodes if node.op_type in ("Recurrent", "RecurrentGradient")]
        assert [len(weights_of(node)) for node in readers] == [6, 6]
        assert readers[0].inputs[-1] is readers[1].inputs[-1]
