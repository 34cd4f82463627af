"""The tensors of attention as stacks of matrices, and its scores as they come: scaled, masked, causal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, Number, joined
from toolkit.backends.native.batched.panels import Matrix
from toolkit.backends.native.batched.rows import Piece
from toolkit.backends.native.batched.stack import Stack, Stacks
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.products.tile import FLOAT32
from toolkit.compiler.program import Node
from toolkit.operators.standard.fused_attention import ATTENTION_GRADIENT

NAMES = ("q", "k", "v", "mask"), ("y", "logarithm", "kept")
GRADIENT_NAMES = ("g", "q", "k", "v", "y", "logarithm", "mask", "kept"), ("dq", "dk", "dv")
LETTERS = {"q": "Q", "k": "K", "v": "V", "y": "Y", "g": "Y", "dq": "Q", "dk": "K", "dv": "V"}
LEAST_QUERIES = 8  # below, packing keys and values takes as long as the products
LEAST_SCORES = 1 << 19  # of a gradient: reading fewer again costs less than to make them again


@dataclass(frozen=True, slots=True)
class Heads:
    """``queries`` meet ``keys`` in vectors of ``size``; there are ``values`` numbers for each key.

    Of the weights a share of ``dropped`` is.

    ``names`` are the tensors that are there, in the order of a kernel's places, and ``shapes`` their strides.
    """

    lead: tuple[int, ...]
    queries: int
    keys: int
    size: int
    values: int
    scale: float
    dropped: float
    is_causal: bool
    names: tuple[str, ...]
    shapes: tuple[Stack, ...]

    @staticmethod
    def of(node: Node) -> Heads:
        """Those of an attention, or of its gradient."""
        given, made = GRADIENT_NAMES if node.op_type == ATTENTION_GRADIENT else NAMES
        items = [*zip(given, node.inputs, strict=False), *zip(made, node.outputs, strict=False)]
        tensors = {name: item for name, item in items if item is not None}
        rank = len(tensors["q"].shape)
        stacks = {
            name: Stack.of(item.shape, rank, swap=node.attributes.get(f"swap{LETTERS.get(name, '')}"))
            for name, item in tensors.items()
        }

        def seen(name: str) -> tuple[int, ...]:
            shape = [*tensors[name].shape]
            if node.attributes.get(f"swap{LETTERS[name]}"):
                shape[-3], shape[-2] = shape[-2], shape[-3]
            return tuple(shape)

        *lead, queries, size = seen("q")
        return Heads(
            tuple(lead),
            queries,
            seen("k")[-2],
            size,
            seen("v")[-1],
            float(node.attributes.get("scale", 1.0)),
            float(node.attributes.get("ratio", 0.0)),
            bool(node.attributes.get("is_causal", 0)),
            tuple(tensors),
            tuple(stacks.values()),
        )

    @property
    def stacks(self) -> Stacks:
        return Stacks(self.lead, self.shapes)

    @property
    def scores(self) -> int:
        """How many there are."""
        return math.prod(self.lead) * self.queries * self.keys

    @property
    def products(self) -> int:
        """Multiplications of both products."""
        return self.scores * (self.size + self.values)

    def matrices(self, head: Number, places: Mapping[str, str]) -> dict[str, Matrix]:
        """Those of a head."""
        starts = self.stacks.starts(head)
        return {
            name: Matrix(places[name], start, stack.row, stack.column)
            for name, start, stack in zip(self.names, starts, self.shapes, strict=True)
        }

    def scored(self, code: Code, piece: Piece, mask: Matrix | None) -> Number:
        """Some sums of queries and keys as scores."""
        lanes = compiler().lanes(FLOAT32)
        value = piece.sums if self.scale == 1.0 else piece.sums * self.scale
        if mask is not None:
            at = mask.at(piece.row, piece.column)
            value = value + code.load_some(mask.place, at, FLOAT32, piece.lanes, lanes, mask.column)
        if self.is_causal:
            numbers = joined([piece.column + lane for lane in range(lanes)])
            value = (numbers <= piece.row.spread(lanes)).choose(value, -math.inf)
        return value


def serves_attention(node: Node) -> bool:
    """Whether attention, or its gradient, is of float32, and of enough queries to repay the packing.

    Refused: gradients of keys and values alone, and of scores so few that reading them costs less than a product.
    """
    if node.outputs[0] is None:
        return False
    tensors = [item for item in (*node.inputs, *node.outputs) if item is not None]
    if not all(item.dtype in (FLOAT32, BOOLEAN) for item in tensors):
        return False
    heads = Heads.of(node)
    if node.op_type == ATTENTION_GRADIENT and heads.scores < LEAST_SCORES:
        return False
    return heads.queries >= LEAST_QUERIES
