"""What is looked up in a table is computed of the table, and equals what the graph says."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import network
from toolkit.compiler.bind import bind
from toolkit.compiler.pipeline import optimise_for_inference
from toolkit.graph import Network

COUNT = ", ".join(map(str, range(5)))
HOT = f"""k = Constant <value = int32[1, 1, 5] {{{COUNT}}}> () last = Constant <value = int64[1] {{-1}}> ()
    p = Unsqueeze(x, last) e = Equal(p, k) h = Cast<to = 1>(e)"""
IDS = np.array([[0, 4, 2, 9, -1, 3, 3, 1]] * 2, np.int32)
NO_PRODUCT = {"FusedMatMul", "Equal"}


def looked_up(body: str, kind: str = "int32", **weights: tuple[int, ...]) -> Network:
    return network(f"rows ({kind}[N, 8] x) => (float[N, 8, M] y) {{ {body} }}", **(weights or {"w": (5, 3)}))


def operators(net: Network) -> list[str]:
    return [node.op_type for node in optimise_for_inference(bind(net, 2)).nodes]


@pytest.mark.parametrize(
    "body",
    [
        HOT + "y = MatMul(h, w)",
        HOT.replace("Equal(p, k)", "Equal(k, p)") + "y = MatMul(h, w)",
        HOT + "t = Transpose<perm = [1, 0]>(v) y = MatMul(h, t)",
    ],
)
def test_a_product_with_one_hot_rows_looks_rows_up(body: str) -> None:
    net = looked_up(body, w=(5, 3), v=(3, 5))
    assert NO_PRODUCT.isdisjoint(operators(net)) and "Gather" in operators(net)
    weight = net.parameters["w"].array if "w)" in body else net.parameters["v"].array.T
    expected = (IDS[..., None] == np.arange(5)).astype(np.float32) @ weight
    for backend in ("cpu", "numpy"):
        np.testing.assert_allclose(net.run(IDS, backend=backend)["y"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        HOT.replace("0, 1, 2", "0, 2, 1") + "y = MatMul(h, w)",
        HOT + "u = MatMul(h, w) y = MatMul(u, z)",
        HOT.replace("Equal", "Less") + "y = MatMul(h, w)",
    ],
)
def test_other_products_stay(body: str) -> None:
    assert "FusedMatMul" in operators(looked_up(body, w=(5, 3), z=(3, 3)))


CHAIN = "b = Add(g, bias) t = Mul(b, two) y = Relu(t)"


def test_what_follows_is_computed_of_the_table() -> None:
    for start in (HOT + "g = MatMul(h, w)", "g = Gather(w, x)"):
        net = looked_up(start + "two = Constant <value = float {2.0}> ()" + CHAIN, w=(5, 3), bias=(3,))
        assert operators(net)[-1] == "Gather"
        ids = np.clip(IDS, 0, 4)
        expected = np.maximum(2 * (net.parameters["w"].array + net.parameters["bias"].array), 0)[ids]
        context = net.context(2)
        np.testing.assert_allclose(context.run(ids)["y"], expected, rtol=1e-6)
        net.parameters["bias"].assign(net.parameters["bias"].array + 1)
        np.testing.assert_allclose(context.run(ids)["y"], net.run(ids, backend="numpy")["y"], rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("g = Gather(w, x) y = Relu(g)", {"w": (50, 3)}),  # a table larger than what is read of it
        ("g = Gather(w, x) r = Relu(g) y = Add(g, r)", {"w": (5, 3)}),
        ("g = Gather(w, x) y = Add(g, rows)", {"w": (5, 3), "rows": (8, 3)}),
    ],
)
def test_what_is_not_of_a_small_table_alone_stays(body: str, weights: dict[str, tuple[int, ...]]) -> None:
    assert operators(looked_up(body, **weights))[-1] != "Gather"
