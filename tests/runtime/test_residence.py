"""Values between segments: on the device where they were computed, as long as nobody on the host looks."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.on_pretend import Register
from tests.support import models
from tests.support.pretend_device import DEVICE, PretendBackend, Transfer
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.protocol import Resources, plain
from toolkit.errors import BackendError
from toolkit.runtime.devices import Devices
from toolkit.runtime.residence import Resident, fetched
from toolkit.runtime.tensors import host_buffer

CARRYING = """repeat (int64 n, float[N, 256] x) => (float[N, 256] y) {
    going = Constant <value = bool {1}> ()
    state = Loop (n, going, x) <
        body = step (int64 i, bool c, float[N, 256] v) => (bool d, float[N, 256] w) {
            d = Identity (c)
            scaled = MatMul (v, m)
            w = Tanh (scaled)
        }
    >
    y = MatMul (state, m)
}"""
BRANCHING = """choose (float[N, 256] x) => (float[N, 256] y) {
    h = MatMul (x, m)
    total = ReduceSum <keepdims = 0> (h)
    zero = Constant <value_float = 0.0> ()
    positive = Greater (total, zero)
    chosen = If (positive) <
        then_branch = t () => (float[N, 256] a) { a = Tanh (h) },
        else_branch = e () => (float[N, 256] b) { b = Neg (h) }
    >
    y = MatMul (chosen, m)
}"""
STATE = np.random.default_rng(2).standard_normal((4, 256)).astype(np.float32)


def crossed(device: PretendBackend) -> int:
    return sum(queue.crossed for queue in device.queues)


def test_the_state_of_a_loop_stays_on_the_device(register: Register) -> None:
    device, judged = register(), models.network(CARRYING, m=(256, 256))
    context, expected = judged.context(4, backend=DEVICE), judged.context(4, backend="numpy")
    bytes_by_count = {}
    for count in (2, 2, 30):
        before, feeds = crossed(device), {"n": np.asarray(count), "x": STATE}
        np.testing.assert_allclose(context.run(feeds)["y"], expected.run(feeds)["y"], rtol=1e-4, atol=1e-5)
        bytes_by_count[count] = crossed(device) - before
    assert bytes_by_count[30] - bytes_by_count[2] < STATE.nbytes, "only counters and conditions cross"


def test_what_a_branch_reads_and_gives_stays_on_the_device(register: Register) -> None:
    device, judged = register(), models.network(BRANCHING, m=(256, 256))
    context, expected = judged.context(4, backend=DEVICE), judged.context(4, backend="numpy")
    for sign in (1, -1, 1, -1):
        before = crossed(device)
        np.testing.assert_allclose(
            context.run(sign * STATE)["y"], expected.run(sign * STATE)["y"], rtol=1e-4, atol=1e-4
        )
        assert crossed(device) - before < 2.5 * STATE.nbytes, "the input and the output cross"


def test_a_value_on_the_device_is_an_array_to_whom_asks(register: Register) -> None:
    backend, lent = register(), Resources(1)
    devices = Devices([backend, NumpyBackend()], lent)
    layout = plain(STATE.dtype, STATE.shape, DEVICE)
    source = devices.fresh(layout)
    devices.convert(host_buffer(plain(STATE.dtype, STATE.shape), STATE), source)
    value = Resident(source, devices)
    assert (value.dtype, value.shape, value.device) == (STATE.dtype, STATE.shape, DEVICE)
    np.testing.assert_array_equal(np.asarray(value), STATE)
    assert np.asarray(value, np.float64).dtype == np.float64
    [also] = fetched([value])
    np.testing.assert_array_equal(also, STATE)
    place = value.buffer.address
    del value
    assert Resident(source, devices).buffer.address == place


def test_a_copy_on_a_device_that_fails_is_told(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = register()
    devices = Devices([backend, NumpyBackend()], Resources(1))
    source = devices.fresh(plain(STATE.dtype, STATE.shape, DEVICE))
    monkeypatch.setattr(Transfer, "bind", lambda *given: lambda: 700)
    with pytest.raises(BackendError, match="pretend could not copy 4096 bytes"):
        Resident(source, devices)
