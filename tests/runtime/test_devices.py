"""Plans on several devices: copies at the borders, waits where memory demands them, sections that are fused.

The second device is pretended: its work is done when somebody waits for it, so a wait that is missing shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import toolkit as tk
from importers import load
from tests.cases import all_cases
from tests.support.placed import agrees, is_planned
from tests.support.pretend_device import DEVICE, PretendBackend
from toolkit import layers
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.registry import FACTORIES, resolve
from toolkit.errors import BackendError, GraphError, InputError, NonFiniteLossError
from toolkit.runtime import border
from toolkit.runtime.feeding import Feed

MODELS = Path(__file__).parents[3] / "shared" / "assets" / "models"
TRIED = (  # models of every kind: images, sound, text, recurrent layers, whole numbers, data that decides shapes
    "mnist8_cntk",
    "micro_kws_qdq",
    "selfattn_mnist",
    "silero_vad_v2",
    "tribuo_iris",
    "cntk_scan",
    "tiny_bert_optimum",
    "gpt2_past_tiny",
    "acasxu_prepared",
    "fsanet_var",
    "yunet_n_dynamic",
    "mnist_dynq_int8",
)
PRESENT = [name for name in TRIED if (MODELS / name / "ort_ref.npz").exists()]
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((16, 1, 8, 8)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 16)

Register = Callable[..., PretendBackend]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Make the device known under its name, for all operators or for some."""

    def make(*only: str) -> PretendBackend:
        made = PretendBackend(only)
        monkeypatch.setitem(FACTORIES, DEVICE, lambda: [made, *resolve("cpu")])
        return made

    yield make


def network(seed: int = 0) -> tk.Network:
    return layers.Sequential(
        [
            layers.Convolution(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPool(2),
            layers.Flatten(),
            layers.Linear(8),
            layers.Tanh(),
            layers.Linear(3),
        ]
    ).network((1, 8, 8), seed=seed)


def trainer(backend: object, **options: object) -> tk.Trainer:
    settings = {"loss": tk.losses.SoftmaxCrossEntropy(), "optimizer": tk.optimizers.AdamW(0.01), **options}
    return tk.Trainer(network(), backend=backend, **settings)


def losses(made: tk.Trainer, steps: int = 4) -> list[float]:
    return [made.train_minibatch(IMAGES, LABELS)[0] for _ in range(steps)]


# inference ------------------------------------------------------------------------------------------------------------


def test_a_network_runs_on_the_device_and_again_with_other_inputs(register: Register) -> None:
    device, judged = register(), network()
    context, expected = judged.context(batch_size=16, backend=DEVICE), judged.context(batch_size=16, backend="numpy")
    for scale in (1, 2, 3, 4):
        np.testing.assert_allclose(
            context.run(IMAGES * scale)["output"], expected.run(IMAGES * scale)["output"], rtol=1e-4, atol=1e-5
        )
    assert sum(queue.fused for queue in device.queues) > 0
    assert sum(queue.launches for queue in device.queues) > 0
    assert not any(queue.pending for queue in device.queues)


def test_layers_are_placed_one_by_one(register: Register) -> None:
    register("Conv", "FusedConv", "Tanh", "FusedMatMul")
    judged = network()
    context = judged.context(batch_size=16, backend=[DEVICE, "cpu"])
    expected = judged.context(batch_size=16, backend="numpy").run(IMAGES)["output"]
    for _ in range(3):
        np.testing.assert_allclose(context.run(IMAGES)["output"], expected, rtol=1e-4, atol=1e-5)
    placed = {line.backend for line in context.explain().steps}
    assert {DEVICE} < placed


def test_contexts_on_one_set_of_parameters_do_not_disturb_each_other(register: Register) -> None:
    device, judged = register(), network()
    contexts = {size: judged.context(batch_size=size, backend=DEVICE) for size in (4, 16)}
    expected = {
        size: judged.context(batch_size=size, backend="numpy").run(IMAGES[:size])["output"] for size in contexts
    }
    for _ in range(3):
        for size, context in contexts.items():
            np.testing.assert_allclose(context.run(IMAGES[:size])["output"], expected[size], rtol=1e-4, atol=1e-5)
    assert len(device.queues) >= 2


def test_new_parameters_reach_the_device(register: Register) -> None:
    register()
    judged = network()
    context = judged.context(batch_size=16, backend=DEVICE)
    before = context.run(IMAGES)["output"]
    for parameter in judged.parameters.values():
        parameter.assign(parameter.array * 2)
    after = context.run(IMAGES)["output"]
    assert not np.allclose(before, after)
    np.testing.assert_allclose(
        after, judged.context(batch_size=16, backend="numpy").run(IMAGES)["output"], rtol=1e-4, atol=1e-5
    )


def test_profiles_tell_when_the_device_computed(register: Register) -> None:
    register()
    context = network().context(batch_size=16, backend=DEVICE)
    context.profile()
    for _ in range(3):
        context.run(IMAGES)
    assert all(line.milliseconds is not None and line.milliseconds >= 0 for line in context.explain().steps)


@pytest.mark.skipif(not PRESENT, reason="needs the assets beside the repository (../shared/assets)")
@pytest.mark.parametrize("name", PRESENT)
def test_models_give_what_they_give_on_the_host(name: str, register: Register) -> None:
    register()
    with np.load(MODELS / name / "ort_ref.npz", allow_pickle=True) as found:
        inputs = {key.removeprefix("in:"): found[key] for key in found.files if key.startswith("in:")}
    model = load(MODELS / name / "model.onnx")
    expected = model.run(inputs, backend="numpy")
    for _ in range(2):
        for key, array in model.run(inputs, backend=DEVICE).items():
            np.testing.assert_allclose(array, expected[key], rtol=2e-4, atol=2e-4 * (1 + np.abs(expected[key]).max()))


# training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "loss_backend"),
    [(DEVICE, None), (DEVICE, "numpy"), ("numpy", DEVICE), ([DEVICE, "cpu"], "cpu")],
    ids=["all of it", "loss on the host", "network on the host", "both named"],
)
def test_training_takes_the_same_steps(backend: object, loss_backend: object, register: Register) -> None:
    register()
    found, expected = trainer(backend, loss_backend=loss_backend), trainer("numpy")
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-4)
    for name, parameter in expected.network.parameters.items():
        np.testing.assert_allclose(found.network.parameters[name].array, parameter.array, rtol=1e-3, atol=1e-5)


def test_only_some_layers_train_on_the_device(register: Register) -> None:
    register("FusedMatMul", "Tanh", "ElementwiseUpdate", "ConvWeightGradient")
    np.testing.assert_allclose(losses(trainer([DEVICE, "cpu"])), losses(trainer("numpy")), rtol=1e-4)


def test_gradients_are_gathered_on_the_device(register: Register) -> None:
    register()
    np.testing.assert_allclose(
        losses(trainer(DEVICE, accumulate=2), 6), losses(trainer("numpy", accumulate=2), 6), rtol=1e-4
    )


def test_gradients_come_back(register: Register) -> None:
    register()
    found, expected = (trainer(backend).gradients(IMAGES, LABELS) for backend in (DEVICE, "numpy"))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-6)


def test_a_checkpoint_of_the_device_goes_on_on_the_host(register: Register, tmp_path: Path) -> None:
    register()
    first = trainer(DEVICE)
    losses(first, 2)
    first.save_checkpoint(tmp_path / "half.npz")
    second, third = trainer("numpy"), trainer(DEVICE)
    for other in (second, third):
        other.load_checkpoint(tmp_path / "half.npz")
    expected = losses(first, 2)
    np.testing.assert_allclose(losses(second, 2), expected, rtol=1e-4)
    np.testing.assert_allclose(losses(third, 2), expected, rtol=1e-6)


def test_a_network_is_swapped_while_it_trains_on_the_device(register: Register) -> None:
    register()
    made = trainer(DEVICE)
    losses(made, 2)
    made.network = network(seed=1)
    found = losses(made, 20)
    assert found[-1] < found[0]


# copies beside the work -----------------------------------------------------------------------------------------------

PICTURES = [RANDOM.standard_normal((16, 1, 8, 8)).astype(np.float32) for _ in range(5)]
EITHER_ORDER = pytest.mark.parametrize("is_eager", [False, True], ids=["late", "early"])


@pytest.fixture
def crossing(register: Register, monkeypatch: pytest.MonkeyPatch) -> Register:
    """The device, to which even small inputs cross beside its work."""
    monkeypatch.setattr(border, "LEAST_NBYTES", 1)
    return register


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


# several contexts -----------------------------------------------------------------------------------------------------


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


# what goes wrong ------------------------------------------------------------------------------------------------------


def test_nan_in_a_batch_names_the_layer_and_changes_nothing(register: Register) -> None:
    register()
    made = trainer(DEVICE)
    losses(made, 1)
    kept = {name: item.array.copy() for name, item in made.network.parameters.items()}
    with pytest.raises(NonFiniteLossError, match="convolution1"):
        made.train_minibatch(np.full_like(IMAGES, np.nan), LABELS)
    for name, array in kept.items():
        np.testing.assert_array_equal(made.network.parameters[name].array, array)
    assert np.isfinite(losses(made, 1)).all()


def test_what_fails_on_the_device_names_its_layer_and_leaves_the_context_usable(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, judged = register(), network()
    context = judged.context(batch_size=16, backend=DEVICE)
    expected = context.run(IMAGES)["output"]
    with monkeypatch.context() as broken:
        broken.setattr(np, "copyto", _refuse)
        with pytest.raises((BackendError, InputError)):
            context.run(IMAGES)
    np.testing.assert_array_equal(context.run(IMAGES)["output"], expected)
    assert not any(queue.pending for queue in device.queues)


def _refuse(*arguments: object, **options: object) -> None:
    raise BackendError("the device has fallen off the bus")


# operators ------------------------------------------------------------------------------------------------------------


def test_operators_compute_on_the_device_what_their_references_say() -> None:
    backends = [PretendBackend(), NumpyBackend()]
    assert sum(agrees(case, backends) for case in all_cases() if is_planned(case)) > 1000
