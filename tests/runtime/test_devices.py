"""Plans on several devices: copies at the borders, waits where memory demands them, sections that are fused.

The second device is pretended: its work is done when somebody waits for it, so a wait that is missing shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from importers import load
from tests.cases import all_cases
from tests.runtime.on_pretend import IMAGES, LABELS, Register, losses, network, trainer
from tests.support.placed import agrees, is_planned
from tests.support.pretend_device import DEVICE, PretendBackend
from toolkit.backends.numpy.backend import NumpyBackend
from toolkit.backends.protocol import Resources
from toolkit.errors import BackendError, InputError, NonFiniteLossError
from toolkit.runtime.devices import Devices

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


# entering -------------------------------------------------------------------------------------------------------------


class Entered(NumpyBackend):
    name = "entered"
    is_entered = True


@pytest.mark.parametrize(
    "names, count", [([], 1), (["numpy"], 1), (["entered", "numpy"], 2)], ids=["none", "idle", "entered"]
)
def test_a_run_enters_devices_and_the_backends_named_that_have_something_to_enter(names: list[str], count: int) -> None:
    devices = Devices([PretendBackend(), NumpyBackend(), Entered()], Resources(1))
    assert len(devices.entering(names)) == count, "the device is always entered: somebody will wait for it"


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
