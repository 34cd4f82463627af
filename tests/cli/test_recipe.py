"""Recipes: what a file says is what flags would have said, flags go before it, and what is wrong in it is told."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from toolkit.cli.finetune import GROUPS
from toolkit.cli.recipe import read_recipe, written

RECIPE = """
[files]
model = "model.onnx"
output = "tuned.onnx"

[data]
data = "data.npz"
validation = 0.2
batch_size = 16

[update.optimizer]
kind = "AdamW"
betas = [0.9, 0.99]

[update]
lr = 0.02
clip_norm = 1.0
schedule = "cosine:end=0.1"

[objective]
loss = {kind = "Focal", gamma = 1}
metric = {f1 = "F1", second = {kind = "TopK", k = 2}}

[selection]
decay_factor = {"b*" = 0}

[run]
epochs = 2
threads = 1
"""


@pytest.fixture
def recipe(tmp_path: Path, model: Path, data: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RECIPE)
    return path


def test_a_recipe_is_all_that_is_needed(cli: Cli, recipe: Path, tmp_path: Path):
    outcome = cli("finetune", "--recipe", recipe, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found["output"] == str(tmp_path / "tuned.onnx")
    assert (tmp_path / "tuned.onnx").exists()
    assert found["loss_function"] == "Focal on 'scores'"
    assert "AdamW(0.02, betas=(0.9, 0.99))" in found["optimizer"]
    assert "ClipByGlobalNorm" in found["optimizer"]
    assert len(found["epochs"]) == 2
    assert {"loss", "f1", "second"} <= set(found["after"])
    assert found["after"]["second"] >= found["after"]["f1"]


def test_flags_go_before_the_recipe(cli: Cli, recipe: Path, tmp_path: Path):
    other = tmp_path / "other.onnx"
    words = ["--epochs", 1, "--output", other, "--loss", "softmax-cross-entropy:label_smoothing=0.1", "--optimizer=sgd"]
    found = json.loads(cli("finetune", "--recipe", recipe, *words, "--json").out)
    assert other.exists()
    assert len(found["epochs"]) == 1
    assert found["loss_function"] == "SoftmaxCrossEntropy on 'scores'"
    assert "SGD(0.02, momentum=0.9)" in found["optimizer"]


def test_the_recipe_of_a_run_repeats_it(cli: Cli, recipe: Path, tmp_path: Path):
    saved = tmp_path / "elsewhere" / "saved.toml"
    saved.parent.mkdir()
    first = tmp_path / "tuned.onnx"
    assert cli("finetune", "--recipe", recipe, "--save-recipe", saved, "--seed", 3).status == 0
    content = first.read_bytes()
    first.unlink()
    assert tomllib.loads(saved.read_text())["files"]["model"] == "../model.onnx"
    assert cli("finetune", "--recipe", saved).status == 0
    assert first.read_bytes() == content


def test_tables_may_be_left_out_and_lists_are_lists(tmp_path: Path):
    path = tmp_path / "flat.toml"
    path.write_text('epochs = 5\nfreeze = ["a*", "b"]\ntrain = "c"\nstraight_through = true\nstage = [1, "enc/*"]\n')
    assert read_recipe(str(path), GROUPS) == {
        "epochs": 5,
        "freeze": ["a*", "b"],
        "train": ["c"],
        "straight_through": True,
        "stage": [1, "enc/*"],
    }


def test_paths_are_relative_to_the_recipe(tmp_path: Path):
    path = tmp_path / "paths.toml"
    path.write_text('data = "d.npz"\nvalidation = "/v.npz"\ndistill = {teacher = "t.onnx"}\ny = "y.npy"\n')
    found = read_recipe(str(path), GROUPS)
    assert found["data"] == str(tmp_path / "d.npz")
    assert found["validation"] == "/v.npz"
    assert found["distill"] == {"teacher": str(tmp_path / "t.onnx")}
    assert found["y"] == str(tmp_path / "y.npy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "there is no option 'epoch' (did you mean epochs?)"),
        ("[runn]\nepochs = 3", "there is no option 'runn' (did you mean run?)"),
        ("[run]\nlr = 3", "there is no option 'run.lr'"),
        ("[run]\nepochs = 'many'", "run.epochs: a whole number of at least 1 is expected, got 'many'"),
        ("epochs = 0", "epochs: a whole number of at least 1 is expected, got 0"),
        ("epochs = 1\n[run]\nepochs = 2", "epochs is given twice"),
        ("loss = 'fokal'", "loss: there is no loss 'fokal' (did you mean Focal?)"),
        ("[loss]\nkind = 'Focal'\ngama = 2", "Focal has no parameter 'gama' (did you mean gamma?)"),
        ("balance = 'wights'", "one of weights, sampling is expected, got 'wights' (did you mean weights?)"),
        ("keep_best = 1", "keep_best: true or false is expected, got 1"),
        ("freeze = [3]", "freeze: a text is expected, got 3"),
        ("classes = [1, 2]", "classes: NAME,... is expected, got [1, 2]"),
        ("y = 3", "y: KEY|NAME=KEY,... is expected, got 3"),
        ("dropout = 'x'", "dropout: PATTERN=RATIO is expected, got 'x'"),
        ("epochs = ", "is no recipe in TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_one_line(cli: Cli, tmp_path: Path, text: str, said: str):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    outcome = cli("finetune", "--recipe", path)
    assert outcome.status == 1
    assert said in outcome.complaint
    assert "wrong.toml" in outcome.complaint


def test_a_recipe_that_is_not_there(cli: Cli):
    assert "There is no recipe 'none.toml'" in cli("finetune", "--recipe", "none.toml").complaint


@pytest.mark.parametrize(
    "value",
    [
        3,
        -1e-5,
        1e300,
        float("inf"),
        True,
        'a "quoted"\n\tline \\ \x7f ü',
        [1, [2.5, "x"]],
        {"a b": {"c": [True]}, "": 1, "d-e": "f"},
    ],
)
def test_values_come_back_from_toml(value: Any):
    assert tomllib.loads(f"value = {written(value)}")["value"] == value
