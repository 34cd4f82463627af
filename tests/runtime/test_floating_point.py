"""Infinities and not-a-numbers are values as ONNX has them: no run warns of them, wherever numpy computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toolkit as tk
from tests.support.models import network
from toolkit.runtime.floating_point import doors, restore, silence

HEAD = "net (float[N, 2] x) => (float[M, K] y)"
LAYERS = {  # of which x, all zeros, makes infinities or not-a-numbers
    "a kernel that numpy writes into": "y = Log (x)",
    "a reference": "l = Log (x) y = Softsign (l)",
    "constants": "zero = Constant <value_floats = [0.0, 0.0]> () l = Log (zero) y = Add (x, l)",
    "parameters": "l = Reciprocal (w) y = Add (x, l)",
    "behind data": "l = Log (x) n = NonZero (l) t = Transpose (n) y = GatherND (l, t)",
    "executed on the data": """
        l = Log (x)
        t = ReduceSum <keepdims = 0> (x)
        c = Cast <to = 7> (t)
        b = Constant <value_ints = [3, 4]> ()
        sizes = Add (b, c)
        y = Resize <mode = "linear"> (l, , , sizes)
    """,
}


@pytest.mark.parametrize("backend", ["numpy", "cpu"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_run_gives_what_ieee_says_and_does_not_warn(name: str, backend: str) -> None:
    net = network(f"{HEAD} {{ {LAYERS[name]} }}", w=(2,))
    net.parameters["w"].assign(np.zeros(2, np.float32))
    with np.errstate(all="raise"):
        found = net.run(np.zeros((3, 2), np.float32), backend=backend)["y"]
        assert np.geterr()["divide"] == "raise", "whoever calls keeps the state"
    assert not np.isfinite(found).any() and found.size


def test_neither_does_a_training_step_nor_a_profiled_run() -> None:
    net = network(
        "net (float[N, 2] x) => (float[N, 2] y) { l = Log (x) i = IsInf (l) f = Cast <to = 1> (i) y = Mul (f, w) }",
        w=(2,),
    )
    x = np.zeros((3, 2), np.float32)
    trainer = tk.Trainer(net, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.SGD(0.1), backend="numpy")
    context = net.context(batch_size=3, backend="numpy")
    context.profile()
    with np.errstate(all="raise"):
        trainer.train_minibatch(x, x)
        context.run(x)


@pytest.mark.parametrize("silence, restore", [(silence, restore), doors(None)], ids=["variable", "errstate"])
def test_silence_lasts_until_what_was_there_is_restored(silence: Any, restore: Any) -> None:
    with np.errstate(all="raise"):
        outer = silence()
        inner = silence()
        assert set(np.geterr().values()) == {"ignore"}
        restore(inner)
        assert set(np.geterr().values()) == {"ignore"}, "whoever nests leaves it as it was found"
        restore(outer)
        assert set(np.geterr().values()) == {"raise"}
