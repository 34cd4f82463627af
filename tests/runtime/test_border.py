"""Copies beside the work: batches that go ahead, results that come behind, and several contexts at once.

The pretended device does such copies as early or as late as their events let it, so one that is missing shows.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.runtime.on_pretend import IMAGES, LABELS, Register, losses, network, trainer
from tests.support.pretend_device import DEVICE
from toolkit.errors import BackendError, GraphError
from toolkit.runtime.feeding import Feed

PICTURES = list(np.random.default_rng(1).standard_normal((5, 16, 1, 8, 8)).astype(np.float32))
EITHER_ORDER = pytest.mark.parametrize("is_eager", [False, True], ids=["late", "early"])


@EITHER_ORDER
def test_a_stream_gives_what_runs_give(is_eager: bool, crossing: Register) -> None:
    crossing().is_eager = is_eager
    judged = network()
    expected = [judged.context(batch_size=16, backend="numpy").run(x)["output"] for x in PICTURES]
    context = judged.context(batch_size=16, backend=DEVICE)
    for _ in range(2):
        for found, wanted in zip(context.stream(PICTURES), expected, strict=True):
            np.testing.assert_allclose(found["output"], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(context.run(PICTURES[0])["output"], expected[0], rtol=1e-4, atol=1e-5)
    assert {"host to pretend, beside", "pretend to host, beside"} < {step.kernel for step in context.explain().steps}


def test_a_stream_reads_the_next_batch_before_it_hands_out_the_last_results(crossing: Register) -> None:
    crossing()
    context = network().context(batch_size=16, backend=DEVICE)
    context.run(IMAGES)
    read: list[int] = []
    results = context.stream(read.append(index) or x for index, x in enumerate(PICTURES))
    next(results)
    assert read == [0, 1]
    with pytest.raises(GraphError, match=r"in the midst of stream\(...\).*Exhaust or close"):
        context.run(IMAGES)
    results.close()
    context.run(IMAGES)


def test_new_parameters_count_from_the_next_batch_of_a_stream_on(crossing: Register) -> None:
    crossing()
    judged = network()
    context = judged.context(batch_size=16, backend=DEVICE)
    context.run(IMAGES)
    before = judged.context(batch_size=16, backend="numpy").run(IMAGES)["output"]
    results = context.stream(IMAGES for _ in range(4))
    first = next(results)["output"]
    for parameter in judged.parameters.values():
        parameter.assign(parameter.array * 2)
    second, third, fourth = (found["output"] for found in results)
    after = judged.context(batch_size=16, backend="numpy").run(IMAGES)["output"]
    for found, wanted in ((first, before), (second, before), (third, after), (fourth, after)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_stream_is_runs_where_the_host_takes_part(crossing: Register) -> None:
    crossing("FusedMatMul", "Conv", "FusedConv")
    judged = network()
    expected = judged.context(batch_size=16, backend="numpy")
    context = judged.context(batch_size=16, backend=[DEVICE, "cpu"])
    for x, found in zip(PICTURES, context.stream(PICTURES), strict=True):
        np.testing.assert_allclose(found["output"], expected.run(x)["output"], rtol=1e-4, atol=1e-5)


@EITHER_ORDER
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"loss_backend": "numpy"}], ids=str)
def test_a_fit_sends_the_next_batch_ahead(options: dict[str, object], is_eager: bool, crossing: Register) -> None:
    device = crossing()
    device.is_eager = is_eager
    data = np.concatenate(PICTURES), np.tile(LABELS, len(PICTURES))
    found, expected = trainer(DEVICE, **options), trainer("numpy", **options)
    sent = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Feed, "send_ahead", lambda feed, x, real=Feed.send_ahead: sent.append(x) or real(feed, x))
        first, second = (made.fit(data, epochs=2, batch_size=16, keep_best=False) for made in (found, expected))
    assert sum(x.ndim == 4 for x in sent) == 2 * (len(PICTURES) - 1)  # all but the first of an epoch
    for epoch, wanted in zip(first, second, strict=True):
        np.testing.assert_allclose(epoch.training["loss"], wanted.training["loss"], rtol=1e-4)
    for name, parameter in expected.network.parameters.items():
        np.testing.assert_allclose(found.network.parameters[name].array, parameter.array, rtol=1e-3, atol=1e-5)


def test_an_update_is_not_waited_for(crossing: Register) -> None:
    device = crossing()
    made = trainer(DEVICE)
    losses(made, 2)
    queue = next(queue for queue in device.queues if queue.launches)
    assert queue.pending
    assert made.network.parameters["convolution1/weight"].array.any()
    assert not queue.pending


def test_what_was_sent_ahead_is_not_mistaken_for_another_batch(crossing: Register) -> None:
    crossing()
    found, expected = trainer(DEVICE), trainer("numpy")
    for made in (found, expected):
        losses(made, 1)
        made.expect(PICTURES[0], LABELS)
        made.train_minibatch(IMAGES, LABELS)
    for x in (PICTURES[1], PICTURES[0]):
        loss, wanted = (made.train_minibatch(x, LABELS)[0] for made in (found, expected))
        np.testing.assert_allclose(loss, wanted, rtol=1e-4)


def test_an_input_that_cannot_be_sent_is_named(crossing: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    crossing()
    context = network().context(batch_size=16, backend=DEVICE)
    monkeypatch.setattr(Feed, "send_ahead", lambda feed, x: 700)
    with pytest.raises(BackendError, match="Input 'input' could not be sent"):
        list(context.stream(PICTURES))


def test_a_batch_that_does_not_fit_is_refused_in_its_turn(crossing: Register) -> None:
    crossing()
    made = trainer(DEVICE)
    made.expect(np.zeros((2, 3)), LABELS)
    assert np.isfinite(losses(made, 1)).all()


def test_streams_of_two_batch_sizes_go_on_side_by_side(crossing: Register) -> None:
    device, judged, sizes = crossing(), network(), (16, 4)
    expected, found = ([judged.context(batch_size=size, backend=name) for size in sizes] for name in ("numpy", DEVICE))
    for context, size in zip(found, sizes, strict=True):
        context.run(IMAGES[:size])
    streams = [context.stream([x[:size] for x in PICTURES]) for context, size in zip(found, sizes, strict=True)]
    for x, *results in zip(PICTURES, *streams, strict=True):
        for context, size, result in zip(expected, sizes, results, strict=True):
            np.testing.assert_allclose(result["output"], context.run(x[:size])["output"], rtol=1e-4, atol=1e-5)
    assert len(device.queues) >= 2


def test_a_trainer_and_a_context_in_another_thread_share_the_device(crossing: Register) -> None:
    crossing()
    judged, made = network(seed=1), trainer(DEVICE)
    expected = judged.context(batch_size=16, backend="numpy").run(IMAGES)["output"]
    context = judged.context(batch_size=16, backend=DEVICE)
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.extend(context.run(IMAGES)["output"] for _ in range(20)))
    thread.start()
    first = losses(made, 10)
    thread.join()
    np.testing.assert_allclose(first, losses(trainer("numpy"), 10), rtol=1e-3)
    assert len(found) == 20
    for array in found:
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)
