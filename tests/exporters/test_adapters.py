"""Adapters as files: ONNX Runtime's own loader, the safetensors library, the way back, and refusals."""

import json

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy

from exporters import save_adapter
from exporters.adapters.onnx_adapter import onnx_adapter
from importers import read_adapter
from importers.adapters.onnx_adapter import parse_onnx_adapter
from tests.training.adapters.small import close, image_classifier, judged, random, session_of, trained
from toolkit import adapters
from toolkit.errors import GraphError, ModelError


def adapted(create, **options):
    """An image classifier with a trained adapter: network, data, adapter, outputs before and after."""
    network, x = image_classifier()
    before = network.run(x)["y"]
    adapter = create(network, "*", rank=2, alpha=6, **options)
    trained(network, x, steps=4)
    return network, x, adapter, before, network.run(x)["y"]


@pytest.mark.parametrize("create", [adapters.lora, adapters.dora])
def test_onnxruntime_loads_the_adapter_into_the_exposed_model(create, tmp_path):
    network, x, adapter, before, after = adapted(create)
    file = str(tmp_path / "a.onnx_adapter")
    save_adapter(adapter, file, adapter_version=3, model_version=4)
    found = onnxruntime.AdapterFormat.read_adapter(file)
    assert (found.get_format_version(), found.get_adapter_version(), found.get_model_version()) == (1, 3, 4)
    arrays = {name: value.numpy() for name, value in found.get_parameters().items()}
    expected = adapter.tensors().inputs()
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in expected.items())
    session = session_of(adapters.exposed(network), tmp_path / "base.onnx")
    close(session.run(["y"], {"x": x})[0], before)
    loaded, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    loaded.Load(file)
    options.add_active_adapter(loaded)
    close(session.run(["y"], {"x": x}, options)[0], after)
    assert np.array_equal(network.run(x)["y"], after)  # exposing leaves the network alone


def test_one_exposed_model_takes_adapters_of_any_rank(tmp_path):
    network, x, small, _, _ = adapted(adapters.lora)
    session = session_of(adapters.exposed(network, "default"), tmp_path / "base.onnx")
    adapters.activate(network)
    large = adapters.lora(network, "*", rank=5, name="large")
    trained(network, x, steps=3)
    for adapter in (small, large):
        adapters.activate(network, adapter.name)
        fed = session.run(["y"], {"x": x, **adapter.tensors().inputs()})[0]
        close(fed, network.run(x)["y"])


@pytest.mark.parametrize("suffix", ["safetensors", "onnx_adapter"])
@pytest.mark.parametrize("create", [adapters.lora, adapters.dora])
def test_files_bring_the_adapter_back(create, suffix, tmp_path):
    _, x, adapter, before, after = adapted(create)
    save_adapter(adapter, tmp_path / f"a.{suffix}")
    fresh, _ = image_classifier()
    np.testing.assert_array_equal(fresh.run(x)["y"], before)
    again = adapters.attach(fresh, read_adapter(tmp_path / f"a.{suffix}"), name="again")
    assert (again.kind, again.rank, again.layers) == (adapter.kind, 2, adapter.layers)
    close(fresh.run(x)["y"], after)
    close(judged(adapters.merged(fresh), tmp_path / "m.onnx", x), after)


def test_names_and_settings_are_those_of_peft(tmp_path):
    _, _, adapter, _, _ = adapted(adapters.dora)
    save_adapter(adapter, tmp_path / "adapter_model.safetensors")
    tensors = safetensors.numpy.load_file(tmp_path / "adapter_model.safetensors")
    shapes = {name.removeprefix("base_model.model."): array.shape for name, array in tensors.items()}
    assert shapes["linear1.lora_A.weight"] == (2, 128) and shapes["linear1.lora_B.weight"] == (16, 2)
    assert shapes["linear1.lora_magnitude_vector"] == (16,)
    assert shapes["convolution1.lora_A.weight"] == (2, 4, 3, 3)
    assert shapes["convolution1.lora_magnitude_vector"] == (1, 8, 1, 1)
    branch = next(item for item in adapter.branches if item.site.path == "linear1/Gemm")
    np.testing.assert_array_equal(tensors["base_model.model.linear1.lora_A.weight"], branch.a.array.T)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["use_dora"]) == ("LORA", 2, 6.0, True)
    assert config["target_modules"] == ["convolution1", "convolution2", "linear1", "linear2"]


def test_a_file_of_another_library_is_read(tmp_path):
    """Written as PEFT does: settings beside the file, names that begin further out, square-root scaling."""
    network, _ = image_classifier()
    a, b = random(4, 16, seed=1), random(3, 4, seed=2)
    prefix = "base_model.model.classifier.linear2"
    tensors = {f"{prefix}.lora_A.weight": a, f"{prefix}.lora_B.weight": b}
    safetensors.numpy.save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    weight = network.parameters["linear2/weight"].array
    adapters.attach(network, read_adapter(tmp_path / "adapter_model.safetensors"))
    merged = adapters.merged(network).parameters["linear2/weight"].array
    np.testing.assert_allclose(merged, weight + 8 / np.sqrt(4) * b @ a, rtol=1e-5, atol=1e-5)


def test_adapters_of_other_networks_are_refused(tmp_path):
    _, _, adapter, _, _ = adapted(adapters.lora)
    tensors = adapter.tensors()
    other, _ = image_classifier()
    tensors.layers["linear1/Gemm"]["lora_A"] = np.zeros((5, 2), np.float32)
    with pytest.raises(GraphError, match=r"Gemm 'linear1/Gemm' with a weight \(16, 128\) requires the matrices"):
        adapters.attach(other, tensors)
    tensors.layers["encoder/Gemm"] = tensors.layers.pop("linear1/Gemm")
    with pytest.raises(GraphError, match=r"changes 'encoder/Gemm', which means no layer of this network, or several"):
        adapters.attach(other, tensors)
    with pytest.raises(ModelError, match=r"ends with \.safetensors or \.onnx_adapter, got .*a\.bin"):
        save_adapter(adapter, tmp_path / "a.bin")
    with pytest.raises(ModelError, match=r"ends with \.safetensors or \.onnx_adapter"):
        read_adapter(tmp_path / "a.bin")
    with pytest.raises(ModelError, match=r"cannot be read: No such file"):
        read_adapter(tmp_path / "a.safetensors")


def _container(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
A, B = "m.lora_A.weight", "m.lora_B.weight"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"its header is longer than the file"),
        (b"\xff" * 8 + b"{}", r"its header is longer than the file"),
        (_container(b"nothing"), r"its header is no JSON"),
        (_container(b"[" * 100_000), r"its header is no JSON"),
        (_container([]), r"its header is no JSON object"),
        (_container({"__metadata__": 1}), r"its metadata is no JSON object"),
        (_container({A: 1}), r"its entry needs dtype, shape and data_offsets"),
        (_container({A: {**ENTRY, "dtype": "I64"}}, bytes(4)), r"requires one of the types F64, .*, got 'I64'"),
        (_container({A: ENTRY}, bytes(3)), r"do not lie at 0 to 4 of 3 bytes"),
        (_container({A: {**ENTRY, "shape": [1 << 62, 8]}}, bytes(4)), r"do not lie at"),
        (_container({A: {**ENTRY, "shape": [-1, -1]}}, bytes(4)), r"do not lie at"),
        (_container({"wte": ENTRY}, bytes(4)), r"the tensor 'wte' is no matrix of an adapter"),
        (_container({A: ENTRY}, bytes(4)), r"must hold lora_A and lora_B of each module; \['m'\] lack one"),
        (_container({A: ENTRY, B: ENTRY, "__metadata__": {"adapter_config": "x"}}, bytes(4)), r"are no JSON"),
        (
            _container({A: ENTRY, B: ENTRY, "__metadata__": {"adapter_config": '{"peft_type": "IA3"}'}}, bytes(4)),
            r"LORA",
        ),
        (
            _container({A: ENTRY, B: ENTRY, "__metadata__": {"adapter_config": '{"lora_alpha": "1"}'}}, bytes(4)),
            r"need a number as lora_alpha, got '1'",
        ),
    ],
)
def test_safetensors_that_are_none(content, message, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_adapter(tmp_path / "a.safetensors")


def test_broken_onnx_adapters_end_in_one_error(tmp_path):
    """Every part of a file is refused; with a byte changed it is an adapter or a ModelError, never anything else."""
    network, _ = image_classifier()
    whole = onnx_adapter(adapters.lora(network, "linear2", rank=1).tensors().inputs(), 1, 1)
    assert len(parse_onnx_adapter(whole, "file")) == 2
    for length in range(0, len(whole), 3):
        with pytest.raises(ModelError, match=r"lacks the mark b'TORT'|damaged \.onnx_adapter file"):
            parse_onnx_adapter(whole[:length], "file")
    refused = 0
    for place in range(8, 200):
        for value in (0, 127, 255):
            try:
                parse_onnx_adapter(whole[:place] + bytes([value]) + whole[place + 1 :], "file")
            except ModelError:
                refused += 1
    assert refused > 100


def _tensor():
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((2, 2), np.float32))


def test_parameters_of_other_makers_are_not_guessed(tmp_path):
    made = onnxruntime.AdapterFormat()
    made.set_parameters({"q_proj.lora_A.weight": _tensor()})
    made.export_adapter(str(tmp_path / "a.onnx_adapter"))
    with pytest.raises(ModelError, match=r"the parameter 'q_proj\.lora_A\.weight' is not called LAYER/lora_A"):
        read_adapter(tmp_path / "a.onnx_adapter")
    made.set_parameters({"q/lora_A": _tensor()})
    made.export_adapter(str(tmp_path / "a.onnx_adapter"))
    with pytest.raises(ModelError, match=r"must hold lora_A and lora_B of each layer; \['q'\] lack one"):
        read_adapter(tmp_path / "a.onnx_adapter")
