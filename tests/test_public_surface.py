"""What users rely on: the public names exist, are few, are documented, and cost little to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types
from pathlib import Path

import pytest

import exporters
import importers
import toolkit as tk
from toolkit import runtime

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "onnxruntime", "openvino", "sklearn", "skl2onnx", "matplotlib", "pandas")
PROMISED = {
    tk: ["Trainer", "losses", "optimizers", "layers", "metrics", "replace_head", "operator", "not_differentiable"],
    tk.losses: [
        *tk.losses.__all__,
        "L1",
        "Huber",
        "Hinge",
        "KLDivergence",
        "Cosine",
        "Triplet",
        "Focal",
        "Dice",
        "CTC",
    ],
    tk.metrics: ["accuracy", "ConfusionMatrix", "TopK", "RocAuc", "Precision", "Recall", "F1", "R2"],
    tk.optimizers: ["SGD", "Adam", "AdamW"],
    tk.callbacks: ["Callback", "EarlyStopping", "JsonLines", "Csv", "TensorBoard", "Report", "write_report"],
    tk.layers: ["Linear", "Convolution", "Sequential", "Dropout", "ReLU", "BatchNormalization", "Flatten"],
    tk.Network: ["inputs", "outputs", "parameters", "layers", "select", "summary", "run", "transform", "context"],
    tk.Context: ["run", "forward", "backward", "explain", "profile"],
    tk.Trainer: ["train_minibatch", "fit", "evaluate", "gradients", "save_checkpoint", "load_checkpoint", "network"],
    tk.Selection: ["freeze", "unfreeze"],
    importers: ["load"],
    exporters: ["save"],
}
PARAMETERS = {
    tk.Network.context: ["batch_size", "backend", "dims", "training", "threads", "precision"],
    tk.Trainer: ["network", "loss", "optimizer", "backend", "threads", "precision"],
    tk.Trainer.fit: ["data", "epochs", "validation"],
    tk.Trainer.train_minibatch: ["x", "labels"],
    tk.losses.SoftmaxCrossEntropy: ["output"],
    exporters.save: ["network", "path"],
}


def test_the_surface_is_small():
    assert len(tk.__all__) < 40
    assert list(tk.__all__) == sorted(tk.__all__)


@pytest.mark.parametrize("name", tk.__all__)
def test_every_public_name_is_documented(name: str):
    item = getattr(tk, name)
    if name == "Layer":  # a union of the three kinds; each is documented where it is defined
        assert all(inspect.getdoc(kind) for kind in item.__args__)
        return
    documentation = inspect.getdoc(item)
    assert documentation, f"toolkit.{name} has no docstring"
    assert not documentation.startswith(f"{name}("), f"toolkit.{name} has only the docstring that dataclasses generate"


def test_nothing_else_is_public():
    found = {name for name, item in vars(tk).items() if not name.startswith("_") and not inspect.ismodule(item)}
    assert found <= set(tk.__all__)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in PROMISED.items() for name in names],
    ids=lambda item: item if isinstance(item, str) else item.__name__,
)
def test_what_is_promised_exists(owner: object, name: str):
    assert hasattr(owner, name)
    assert inspect.getdoc(getattr(owner, name)) or isinstance(inspect.getattr_static(owner, name), property)


@pytest.mark.parametrize("function", PARAMETERS, ids=lambda item: item.__qualname__)
def test_parameters_keep_their_names(function: object):
    assert set(PARAMETERS[function]) <= set(inspect.signature(function).parameters)


def _executed(code: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own has printed that executed some code."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


def test_importing_loads_no_other_engine():
    code = f"import toolkit, importers, exporters, sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = _executed(code)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_importing_the_graph_alone_gives_networks_their_doors():
    code = "from toolkit.graph import Network; print(type(Network.runtime).__name__)"
    assert _executed(code).stdout.strip() == "_Runtime"


def test_running_models_imports_neither_training_nor_authoring_nor_other_devices():
    unneeded = [f"toolkit.{name}" for name in ("autodiff", "training", "layers", "estimators", "backends.cuda")]
    code = f"import toolkit, importers, sys; print([name for name in {unneeded} if name in sys.modules])"
    assert _executed(code).stdout.strip() == "[]"


@pytest.mark.parametrize("words", [["--help"], ["run", "none.onnx", "--input", "x.npy"], ["inspect", "none.onnx"]])
def test_commands_that_do_not_train_import_no_training(words: list[str]):
    code = (
        "import sys, contextlib\n"
        "from toolkit.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        f"    main({words})\n"
        "print('toolkit.training' in sys.modules)"
    )
    assert _executed(code).stdout.strip() == "False"


def test_running_models_imports_nothing_heavy_that_it_has_no_use_for():
    needless = ["rich", "secrets", "asyncio", "multiprocessing", "unittest", "onnx.reference", "onnx.backend"]
    needless += [f"numpy.{name}" for name in ("ma", "testing", "polynomial", "random", "fft")]
    code = (
        "import sys, numpy as np, toolkit, importers\n"
        "from onnx.parser import parse_model\n"
        """text = '<ir_version: 10, opset_import: ["" : 21]> g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }'\n"""
        "importers.load(parse_model(text)).run({'x': np.ones((2, 3), np.float32)})\n"
        f"print([name for name in {needless} if name in sys.modules])"
    )
    assert _executed(code).stdout.strip() == "[]"


@pytest.mark.parametrize("is_enabled", [True, False])
def test_importing_looks_for_no_garbage_and_leaves_that_to_others_as_it_was(is_enabled: bool):
    code = (
        "import gc\n"
        f"gc.{'enable' if is_enabled else 'disable'}()\n"
        "before = gc.get_stats()\n"
        "import importers\n"
        "made = [now['collections'] - then['collections'] for now, then in zip(gc.get_stats(), before)]\n"
        "print(gc.isenabled(), sum(made) < 100)"
    )
    assert _executed(code).stdout.strip() == f"{is_enabled} True"


@pytest.mark.parametrize("freezes", [True, False])
def test_what_importing_makes_counts_as_old_and_nothing_frozen_thaws(freezes: bool):
    code = (
        "import gc\n"
        f"{'gc.freeze()' if freezes else ''}\n"
        "import toolkit\n"
        "is_young = len(gc.get_objects(0)) + len(gc.get_objects(1)) > 5000\n"
        "print(bool(gc.get_freeze_count()), is_young)"
    )
    assert _executed(code).stdout.strip() == f"{freezes} {freezes}"


def test_what_is_imported_later_is_listed_from_the_start():
    code = (
        "import toolkit; print(set(toolkit.__all__) <= set(dir(toolkit)), toolkit.Trainer is toolkit.training.Trainer)"
    )
    assert _executed(code).stdout.strip() == "True True"


@pytest.mark.parametrize("package", [tk, importers, runtime], ids=lambda item: item.__name__)
def test_other_names_are_unknown(package: types.ModuleType):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'Juice'"):
        package.Juice  # noqa: B018
