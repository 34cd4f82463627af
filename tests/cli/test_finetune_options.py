"""Every group of options of ``finetune`` does what it says, seen in the file that is written and in the JSON result."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from importers import load, read_adapter
from tests.cli.conftest import Cli, classifier
from toolkit.graph.class_names import class_names


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    return tmp_path / "tuned.onnx"


def run(cli: Cli, model: Path, data: Path, tuned: Path, *words: object) -> dict[str, Any]:
    base = ["--data", data, "--output", tuned, "--epochs", 1, "--batch-size", 50, "--threads", 1, "--json"]
    outcome = cli("finetune", model, *base, *words)
    assert (outcome.status, outcome.err) == (0, "")
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def weights(path: Path) -> dict[str, np.ndarray]:
    return {name: item.array for name, item in load(path).parameters.items()}


@pytest.mark.parametrize(
    ("words", "optimizer"),
    [
        (["--optimizer", "lion", "--clip-value", 0.1], "chain(ClipByValue, Lion(0.0001, betas=(0.9, 0.99)))"),
        (["--optimizer", "rmsprop", "--clip-norm", 1, "--accumulate", 2], "chain(ClipByGlobalNorm, RMSprop(0.01"),
        (
            ["--optimizer", "adagrad", "--before", "add_decayed_weights:weight_decay=0.1"],
            "chain(AddDecayedWeights, Ada",
        ),
        (["--optimizer=sgd:nesterov=true", "--lr=0.1", "--momentum=0.5", "--warm-up=2"], "SGD(0.1, momentum=0.5)"),
        (["--schedule", "step:size=2,gamma=0.5", "--loss-scale"], "Adam(0.001"),
        (["--schedule", "reduce-on-plateau:patience=1", "--loss-scale", "initial=8"], "Adam(0.001"),
    ],
)
def test_updates(cli: Cli, model: Path, data: Path, tuned: Path, words: list[str], optimizer: str):
    found = run(cli, model, data, tuned, *words)
    assert optimizer in found["optimizer"]
    assert found["after"]["loss"] < found["before"]["loss"]


def test_a_number_that_the_optimizer_lacks_is_a_usage_error(cli: Cli, model: Path, data: Path, tuned: Path):
    outcome = cli("finetune", model, "--data", data, "--output", tuned, "--optimizer", "adam", "--momentum", 0.9)
    assert outcome.status == 2
    assert "--momentum: Adam has no momentum" in outcome.complaint


def test_averaged_weights_are_what_is_written(cli: Cli, model: Path, data: Path, tuned: Path):
    words = ["--lr", 0.05, "--no-keep-best", "--average"]
    assert run(cli, model, data, tuned, *words, "ema:decay=0.999999")["averaged"]
    still = weights(tuned)
    run(cli, model, data, tuned, *words[:-1])
    moved = weights(tuned)
    before = weights(model)
    # The average begins at the weights after the first step, and hardly leaves them.
    assert np.abs(still["w1"] - before["w1"]).max() <= 0.051
    assert np.abs(moved["w1"] - before["w1"]).max() > np.abs(still["w1"] - before["w1"]).max()


@pytest.mark.parametrize(
    ("words", "learns"),
    [
        (["--train-last", "1"], {"w2", "b2"}),
        (["--lr-factor", "w*=0", "--lr-factor", "b1=0"], {"b2"}),
        (["--stage", "b2", "--stage", "*", "--stage-epochs", "5"], {"b2"}),
        (["--stage", "1"], {"w2", "b2"}),
    ],
)
def test_what_learns(cli: Cli, model: Path, data: Path, tuned: Path, words: list[str], learns: set[str]):
    run(cli, model, data, tuned, *words)
    before, after = weights(model), weights(tuned)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == learns


def test_a_new_head_tells_the_classes_of_the_data_apart(cli: Cli, model: Path, tmp_path: Path, tuned: Path):
    rows = ["a,b,c,d,species"]
    random = np.random.default_rng(0)
    rows += [",".join([*(f"{value:.3f}" for value in random.random(4)), ("cat", "dog")[row % 2]]) for row in range(20)]
    (tmp_path / "d.csv").write_text("\n".join(rows))
    run(cli, model, tmp_path / "d.csv", tuned, "--y", "species", "--head", "linear", "--dropout", "Relu*=0.5")
    network = load(tuned)
    assert network.outputs["scores"].shape == ("N", 2)
    assert class_names(network) == ["cat", "dog"]
    assert "Dropout" in {leaf.op_type for leaf in network.graph.leaves}


def test_heads_that_are_described(cli: Cli, model: Path, data: Path, tuned: Path):
    words = ["--head", "sequential:layers=[(linear:units=6),relu,(linear:units=3)]", "--classes", "a,b,c", "--seed", 4]
    run(cli, model, data, tuned, *words)
    network = load(tuned)
    assert class_names(network) == ["a", "b", "c"]
    assert sum(leaf.op_type == "Gemm" for leaf in network.graph.leaves) == 3
    session = onnxruntime.InferenceSession(str(tuned))
    assert session.run(None, {"x": np.zeros((2, 4), np.float32)})[0].shape == (2, 3)


def test_several_losses_on_several_heads(cli: Cli, model: Path, data: Path, arrays: dict[str, np.ndarray], tuned: Path):
    np.savez(data, allow_pickle=False, x=arrays["x"], kind=arrays["y"], place=arrays["x"][:, :2])
    losses = "{kind=(softmax_cross_entropy:output=scores),place=(l1:output=place)}"
    words = ["--y", "kind=kind,place=place", "--extra-head", "place=linear:units=2", "--head-at", "h", "--lr", 0.02]
    found = run(cli, model, data, tuned, *words, "--loss", f"combined:losses={losses},weights={{place=0.5}}")
    assert found["loss_function"] == "Combined on 'scores', 'place'"
    assert {"loss.kind", "loss.place", "kind.accuracy"} <= set(found["after"])
    assert found["after"]["loss.place"] < found["before"]["loss.place"]
    assert list(load(tuned).outputs) == ["scores", "place"]


def test_labels_of_several_names_need_a_loss(cli: Cli, model: Path, data: Path, tuned: Path):
    outcome = cli("finetune", model, "--data", data, "--output", tuned, "--y", "a=y,b=y")
    assert outcome.status == 1
    assert "Labels of several names need a loss" in outcome.complaint


def test_a_teacher_is_a_file(cli: Cli, model: Path, data: Path, tmp_path: Path, tuned: Path):
    found = run(cli, model, data, tuned, "--distill", f"teacher={model},temperature=4,alpha=1", "--optimizer", "sgd")
    assert found["loss_function"] == "Distillation on 'scores'"
    assert found["before"]["loss.teacher"] == pytest.approx(0, abs=1e-6)
    assert found["after"]["loss.teacher"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("form", ["merged", "apart", "exposed"])
def test_adapters(cli: Cli, model: Path, data: Path, tmp_path: Path, tuned: Path, form: str):
    words = ["--adapter", "lora:rank=2,alpha=4,patterns=[Gemm*]", "--adapter-form", form, "--lr", 0.05]
    file = tmp_path / ("a.onnx_adapter" if form == "exposed" else "a.safetensors")
    found = run(cli, model, data, tuned, *words, "--adapter-output", file)
    assert len(found["adapter"]["layers"]) == 2
    assert found["after"]["loss"] < found["before"]["loss"]
    assert read_adapter(file).rank == 2
    base = weights(model)
    changed = {name for name, array in weights(tuned).items() if name in base and not np.array_equal(array, base[name])}
    assert changed == ({"w1", "w2"} if form == "merged" else set())
    inputs = [item.name for item in onnx.load(tuned).graph.input]
    assert (len(inputs) > 1) == (form == "exposed")
    again = run(cli, model, data, tmp_path / "more.onnx", "--adapter-from", file)
    assert again["before"]["loss"] == pytest.approx(found["after"]["loss"], rel=1e-4)


def test_an_adapter_file_needs_an_adapter(cli: Cli, model: Path, data: Path, tmp_path: Path, tuned: Path):
    words = ["--data", data, "--output", tuned, "--adapter-output", tmp_path / "a.safetensors"]
    assert "--adapter-output needs an adapter" in cli("finetune", model, *words).complaint


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_rare_classes_can_weigh_more(cli: Cli, model: Path, data: Path, tuned: Path, balance: str):
    arrays = dict(np.load(data))
    keep = (arrays["y"] != 2) | (np.arange(150) < 12)
    np.savez(data, allow_pickle=False, x=arrays["x"][keep], y=arrays["y"][keep])
    words = ["--balance", balance, "--metric", "recall:average=none", "--validation", 0.5]
    found = run(cli, model, data, tuned, *words, "--epochs", 8, "--lr", 0.05)
    assert found["after"]["Recall.2"] >= 0.5
    plain = run(cli, model, data, tuned, "--validation", 0.5)
    assert (plain["before"]["loss"] != found["before"]["loss"]) == (balance == "weights")


def test_weights_need_a_loss_that_has_them(cli: Cli, model: Path, data: Path, tuned: Path):
    words = ["--data", data, "--output", tuned, "--balance", "weights", "--loss", "dice"]
    assert "--balance weights needs a loss with a weight for each class" in cli("finetune", model, *words).complaint


def test_inputs_and_labels_in_npy_files(
    cli: Cli, model: Path, arrays: dict[str, np.ndarray], tmp_path: Path, tuned: Path
):
    np.save(tmp_path / "x.npy", arrays["x"])
    np.save(tmp_path / "y.npy", arrays["y"])
    found = run(cli, model, tmp_path / "x.npy", tuned, "--y", tmp_path / "y.npy", "--drop-last", "--no-shuffle")
    assert found["after"]["accuracy"] >= found["before"]["accuracy"]
    outcome = cli("finetune", model, "--data", tmp_path / "x.npy", "--output", tuned)
    assert "Name their npy file with --y" in outcome.complaint


def png(path: Path, grey: int) -> None:
    """A grey image of 4 x 4, written by hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = b"".join(b"\0" + bytes([grey]) * 4 for _ in range(4))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    packed = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def test_folders_of_images(cli: Cli, tmp_path: Path, tuned: Path):
    pytest.importorskip("PIL", reason="Pillow decodes images")
    text = "g (float[N, 1, 4, 4] x) => (float[N, 2] y) { f = Flatten(x) y = MatMul(f, w) }"
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> {text}')
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((16, 2), np.float32), "w"))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for number in range(4):
        png(tmp_path / "images" / "dark" / f"{number}.png", 10 + number)
        png(tmp_path / "images" / "bright" / f"{number}.png", 240 + number)
    words = ["--augment", "flip=0.5,brightness=0.05", "--images", "mean=0.5,fit=stretch", "--workers", 0, "--lr", 0.1]
    found = run(cli, tmp_path / "m.onnx", tmp_path / "images", tuned, *words, "--classes", "bright,dark")
    assert found["after"]["accuracy"] == 1
    page = tmp_path / "page.html"
    more = ["--images", "mean=0.5,fit=stretch", "--confusion", "--report", page, "--metric", "f1:average=none"]
    outcome = cli("evaluate", tuned, "--data", tmp_path / "images", *more)
    assert outcome.status == 0, outcome.err
    assert "bright" in outcome.out
    assert "F1.dark" in outcome.out
    assert "<html" in page.read_text()
    result = json.loads(cli("evaluate", tuned, "--data", tmp_path / "images", *more[:3], "--json").out)
    assert result["confusion"] == {"confusion": [[4, 0], [0, 4]]}
    assert result["classes"] == ["bright", "dark"]


def test_a_folded_normalisation_can_be_had_back(cli: Cli, tmp_path: Path, data: Path, model: Path, tuned: Path):
    run(cli, model, data, tuned, "--unfold-batch-normalization", "Gemm_0", "--unfreeze-statistics", "*Normalization*")
    assert "BatchNormalization" in {leaf.op_type for leaf in load(tuned).graph.leaves}


def test_logs_reports_and_early_stopping(cli: Cli, model: Path, data: Path, tmp_path: Path, tuned: Path):
    words = [
        "--validation",
        0.3,
        "--epochs",
        30,
        "--lr",
        1e-9,
        "--early-stopping",
        2,
        "--monitor",
        "loss",
        "--mode",
        "min",
    ]
    logs = ["--log", tmp_path / "run.jsonl", "--log", tmp_path / "run.csv", "--report", tmp_path / "page.html"]
    callback = ["--callback", f"json-lines:path={tmp_path / 'steps.jsonl'},every=1"]
    found = run(cli, model, data, tuned, *words, *logs, *callback, "--optimizer", "sgd")
    epochs = len(found["epochs"])
    assert epochs < 30
    assert "no better" in found["message"]
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == epochs
    assert len((tmp_path / "run.csv").read_text().splitlines()) == epochs + 1
    assert '"event": "step"' in (tmp_path / "steps.jsonl").read_text()
    assert "<html" in (tmp_path / "page.html").read_text()


def test_a_run_goes_on_from_its_checkpoint(cli: Cli, model: Path, data: Path, tmp_path: Path, tuned: Path):
    words = ["--checkpoint", tmp_path / "run.checkpoint", "--validation", 0.2]
    run(cli, model, data, tuned, *words, "--epochs", 1)
    found = run(cli, model, data, tuned, *words, "--epochs", 3, "--resume")
    assert [epoch["number"] for epoch in found["epochs"]][-1] == 3
    resumed = tuned.read_bytes()
    run(cli, model, data, tuned, "--validation", 0.2, "--epochs", 3)
    assert tuned.read_bytes() == resumed


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--loss", "fokal"], 2, "there is no loss 'fokal' (did you mean Focal?)"),
        (["--optimizer", "adma"], 2, "there is no optimizer 'adma' (did you mean Adam?)"),
        (["--optimizer", "adam:beta=1"], 2, "Adam has no parameter 'beta' (did you mean betas?)"),
        (["--schedule", "cosin"], 2, "(did you mean cosine?)"),
        (["--metric", "presision"], 2, "(did you mean Precision?)"),
        (["--average", "emma"], 2, "(did you mean ema?)"),
        (["--balance", "wieghts"], 2, "(did you mean weights?)"),
        (["--lr-factor", "w1"], 2, "PATTERN=NUMBER is expected, got 'w1'"),
        (["--lr-factor", "w1=fast"], 2, "a number is expected, got 'fast'"),
        (["--resume"], 1, "--resume goes on from a checkpoint"),
        (["--log", "run.txt"], 1, "--log run.txt: a file .jsonl or .csv"),
        (["--checkpoint", "nowhere/file"], 1, "there is no folder 'nowhere'"),
        (["--precision", "float8"], 1, "precision must be"),
        (["--extra-head", "o=linear"], 1, "--extra-head needs the layer"),
        (["--loss", "combined:losses={a=l1}", "--loss-output", "scores"], 1, "Combined names its outputs itself"),
    ],
)
def test_wrong_options_change_nothing(
    cli: Cli, model: Path, data: Path, tuned: Path, words: list[str], status: int, said: str
):
    before = model.read_bytes()
    outcome = cli("finetune", model, "--data", data, "--output", tuned, *words)
    assert outcome.status == status
    assert said in outcome.complaint
    assert not tuned.exists()
    assert model.read_bytes() == before


def test_batch_axes_can_be_said(cli: Cli, model: Path, data: Path, tuned: Path):
    run(cli, model, data, tuned, "--batch-axis", "x=0", "--batch-axis", "scores=0")
    outcome = cli("finetune", model, "--data", data, "--output", tuned, "--batch-axis", "z=0")
    assert "'z'" in outcome.complaint


def test_a_sigmoid_at_the_end_is_judged_as_probabilities(cli: Cli, data: Path, tmp_path: Path, tuned: Path):
    path = tmp_path / "m.onnx"
    text = "g (float[N, 4] x) => (float[N, 3] y) { a = Gemm(x, w1, b1) h = Relu(a) z = Gemm(h, w2, b2) y = Sigmoid(z) }"
    path.write_bytes(classifier(text).SerializeToString())
    arrays = np.load(data)
    np.savez(data, allow_pickle=False, x=arrays["x"], y=np.eye(3, dtype=np.float32)[arrays["y"]])
    found = run(cli, path, data, tuned, "--loss", "binary-cross-entropy")
    assert found["loss_function"] == "BinaryCrossEntropy of probabilities on 'y'"


COMPRESSED = {
    "units": (["--prune-units", "share=0.25"], set()),
    "zeros": (["--prune", "share=0.5"], set()),
    "growing zeros": (["--prune", "share=0.5,scope=layer", "--prune-steps", "4"], set()),
    "integers": (["--quantise"], {"QuantizeLinear", "DequantizeLinear"}),
    "other integers": (["--quantise", "method=percentile,activations=int8"], {"QuantizeLinear", "DequantizeLinear"}),
    "trained integers": (["--quantise-aware", "weights=int8"], {"QuantizeLinear", "DequantizeLinear"}),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_files(cli: Cli, model: Path, data: Path, tuned: Path, name: str):
    words, operators = COMPRESSED[name]
    outcome = cli("finetune", model, "--data", data, "--output", tuned, "--epochs", "1", *words, "--json")
    assert outcome.status == 0, outcome.err
    found, before = load(tuned), load(model)
    assert operators <= {leaf.op_type for leaf in found.graph.leaves}
    assert json.loads(outcome.out)["after"]["loss"] > 0
    weights = {key: item for key, item in found.parameters.items() if item.array.ndim == 2}
    if name == "units":
        assert sum(item.size for item in found.parameters.values()) < sum(
            item.size for item in before.parameters.values()
        )
    if "zeros" in name:
        zeros = sum(int((item.array == 0).sum()) for item in weights.values())
        assert zeros == pytest.approx(sum(item.size for item in weights.values()) / 2, rel=0.1)
    onnxruntime.InferenceSession(str(tuned), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quantise", "--quantise-aware"], "--quantise-aware and --quantise exclude each other"),
        (["--quantise-aware", "--adapter", "lora:rank=2"], "--quantise-aware beside an adapter"),
        (["--prune-steps", "4"], "--prune-steps tells how long --prune takes"),
        (["--quantise", "methode=percentile"], "did you mean method"),
    ],
)
def test_compressions_that_exclude_each_other(
    cli: Cli, model: Path, data: Path, tuned: Path, words: list[str], message: str
):
    outcome = cli("finetune", model, "--data", data, "--output", tuned, *words)
    assert outcome.status in (1, 2)
    assert message in outcome.err
    assert not tuned.exists()
