"""Kernels that are made once for all nodes, and all contexts, that look the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.support.models import feed, network
from toolkit.backends.host import HostBackend
from toolkit.backends.protocol import Kernel, Layout, Resources, Step, plain
from toolkit.compiler.program import Node, Program, Variable
from toolkit.runtime.kernels import conversion_for, kernel_for

FLOAT32 = np.dtype(np.float32)
ROWS = plain(FLOAT32, (3, 4))


class Made(Kernel):
    is_shared = True

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any], workspace: Any) -> Step:
        return lambda: None


class Own(Made):
    is_shared = False


class Maker(HostBackend):
    name = "maker"
    kind: type[Kernel] = Made

    def supports(self, node: Node) -> bool:
        return True

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        return self.kind()

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return self.kind()

    def enter(self, resources: Resources) -> None:
        return


def clipped(low: Any = 0.0, *, shape: tuple[int, ...] = (3, 4), parameter: Any = None, role: str = "forward") -> Node:
    """A Clip of which the lower bound is known, or a parameter's content."""
    program, x = Program(), Variable("x", FLOAT32, shape)
    bound = Variable("low", FLOAT32, (), constant=np.float32(low)[...], parameter=parameter)
    node = program.append("Clip", [x, bound], {}, version=13)
    node.role = role
    return node


def leaky(alpha: Any) -> Node:
    return Program().append("LeakyRelu", [Variable("x", FLOAT32, (3, 4))], {"alpha": alpha}, version=16)


def test_nodes_that_look_the_same_share_a_kernel() -> None:
    backend, lent = Maker(), Resources(1)
    first = kernel_for(backend, clipped(), [ROWS, None], lent)
    assert kernel_for(backend, clipped(), [ROWS, None], lent) is first


@pytest.mark.parametrize(
    "one, other",
    [
        (clipped(0.0), clipped(1.0)),
        (clipped(), clipped(shape=(4, 3))),
        (clipped(), clipped(role="backward")),
        (leaky(0.1), leaky(0.2)),
        (leaky(1), leaky(1.0)),
    ],
    ids=["a constant", "a shape", "the backward pass", "an attribute", "the type of an attribute"],
)
def test_a_kernel_is_made_anew_for_another(one: Node, other: Node) -> None:
    backend, lent = Maker(), Resources(1)
    made = [kernel_for(backend, node, [ROWS, None], lent) for node in (one, other)]
    assert made[0] is not made[1]


@pytest.mark.parametrize("settings", [{"threads": 2}, {"training": True}, {"strict": False}], ids=list)
def test_what_a_context_lends_tells_kernels_apart(settings: dict[str, Any]) -> None:
    backend, lent = Maker(), Resources(1)
    other = Resources(**{"threads": 1, **settings}, kernels=lent.kernels)
    assert kernel_for(backend, clipped(), [ROWS, None], lent) is not kernel_for(backend, clipped(), [ROWS, None], other)


def test_a_parameter_that_counted_as_a_constant_is_known_by_its_content() -> None:
    backend, lent, parameter = Maker(), Resources(1), object()
    before = kernel_for(backend, clipped(0.0, parameter=parameter), [ROWS, None], lent)
    assert kernel_for(backend, clipped(1.0, parameter=parameter), [ROWS, None], lent) is not before


def test_what_owns_its_memory_is_never_shared() -> None:
    backend, lent = Maker(), Resources(1)
    backend.kind = Own
    made = [kernel_for(backend, clipped(), [ROWS, None], lent) for _ in range(2)]
    made += [conversion_for(backend, ROWS, plain(FLOAT32, (4, 3)), lent) for _ in range(2)]
    assert len(set(map(id, made))) == 4


def test_conversions_are_known_by_their_layouts() -> None:
    backend, lent, turned = Maker(), Resources(1), plain(FLOAT32, (4, 3))
    made = conversion_for(backend, ROWS, turned, lent)
    assert conversion_for(backend, ROWS, turned, lent) is made
    assert conversion_for(backend, turned, ROWS, lent) is not made


def test_a_table_holds_kernels_as_long_as_somebody_uses_them() -> None:
    backend, lent = Maker(), Resources(1)
    made = kernel_for(backend, clipped(), [ROWS, None], lent)
    assert list(lent.kernels.values()) == [made]
    del made
    assert not lent.kernels


def test_contexts_of_a_network_share_kernels_and_still_compute_what_is_theirs() -> None:
    net = network(
        """twice (float[N, 8, 6, 6] x) => (float[N, 8, 6, 6] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, w1)
            y = Conv <pads = [1, 1, 1, 1]> (a, w2)
        }""",
        w1=(8, 8, 3, 3),
        w2=(8, 8, 3, 3),
    )
    feeds = feed(net, 2)
    contexts = [net.context(2) for _ in range(2)]
    expected = net.run(feeds, backend="numpy")["y"]
    for context in contexts:
        np.testing.assert_allclose(context.run(feeds)["y"], expected, rtol=1e-4, atol=1e-4)
    assert contexts[0].resources.kernels is contexts[1].resources.kernels
