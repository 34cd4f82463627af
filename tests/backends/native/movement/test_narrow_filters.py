"""Filters narrowed for convolutions: the same numbers, in the blocks in which those read them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from toolkit.backends import native, onednn

if native.unavailable_reason() is not None or not onednn.available():
    pytest.skip("needs llvmlite and oneDNN", allow_module_level=True)

from toolkit.backends.host import HostBuffer, aligned
from toolkit.backends.native.movement.narrow_filters import is_read_by, lower_narrowing, narrows_filters
from toolkit.backends.onednn.reorder import reorder_kernel
from toolkit.backends.onednn.threads import use_threads
from toolkit.backends.protocol import Resources, plain
from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter

NARROW, WIDE = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)


def narrowing(shape, role):
    program = Program(layer="checked")
    filters = Variable("w", WIDE, shape)
    filters.parameter = Parameter("w", np.zeros(shape, WIDE))
    node = program.append("Cast", [filters], {"to": 16}, version=13)
    node.role = role
    return program, node


def moved(source, layout, resources):
    target = HostBuffer(layout, aligned(layout.nbytes))
    reorder_kernel(source.layout, layout, resources).bind([source], [target], None)()
    return target


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("role", ["forward", "backward"])
@pytest.mark.parametrize("shape", [(32, 48, 3, 3), (64, 32, 1, 1), (16, 16, 5, 1)], ids=str)
def test_filters_are_rounded_and_lie_in_pairs(shape, role, threads):
    use_threads(threads)
    resources = Resources(threads)
    _, node = narrowing(shape, role)
    assert narrows_filters(node)
    kernel = lower_narrowing(node, [None], resources)
    content = np.random.default_rng(0).standard_normal(shape).astype(WIDE)
    source = HostBuffer(plain(WIDE, shape), content.reshape(-1).view(np.uint8))
    given = moved(source, kernel.inputs[0], resources)
    made = HostBuffer(kernel.outputs[0], aligned(kernel.outputs[0].nbytes))
    assert not kernel.bind([given], [made], None)()
    assert not made.layout.is_plain
    found = moved(made, plain(NARROW, shape), resources)
    np.testing.assert_array_equal(found.array.view(np.uint16), content.astype(NARROW).view(np.uint16))


@pytest.mark.parametrize("shape", [(24, 32, 3, 3), (32, 3, 7, 7), (32, 32)], ids=str)
def test_what_does_not_fill_blocks_is_refused(shape):
    assert not narrows_filters(narrowing(shape, "forward")[1])


@pytest.mark.parametrize(
    "role, reader, group, is_read",
    [
        ("forward", "FusedConv", 1, True),
        ("forward", "FusedConv", 2, False),
        ("backward", "ConvInputGradient", 1, True),
        ("backward", "FusedConv", 1, False),
    ],
)
def test_only_convolutions_of_one_group_want_such_blocks(role, reader, group, is_read):
    program, node = narrowing((32, 32, 3, 3), role)
    image = Variable("x", NARROW, (1, 32, 8, 8))
    attributes = {"group": group, "pads": [1, 1, 1, 1], "input_shape": (8, 8)}
    user = type(node)(reader, "toolkit", 1, [image, node.y], [Variable("y", NARROW, (1, 32, 8, 8))], attributes, "")
    assert is_read_by(node, [user]) == is_read
    assert not is_read_by(node, []) and not is_read_by(node, [user, program.nodes[0]])
