"""Objects in words: the grammar, the fitting of values to signatures, and that everything public is reachable."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import toolkit as tk
from tests.cli.conftest import Cli
from toolkit.cli.descriptions import literal, parsed, split
from toolkit.cli.families import FAMILIES
from toolkit.errors import InputError, ToolkitError

BY_HAND: dict[str, dict[str, Any]] = {  # what kinds cannot be without
    "Combined": {"losses": {"a": {"kind": "L1"}}},
    "ClipByGlobalNorm": {"limit": 1.0},
    "ClipByValue": {"limit": 1.0},
    "AddDecayedWeights": {"weight_decay": 0.1},
    "Momentum": {"decay": 0.9},
    "ScaleByFactors": {"decay": -0.8, "epsilon": [1e-8, 1e-3], "clip": 1.0},
    "step": {"size": 5},
    "multistep": {"at": [2, 4]},
    "exp": {"gamma": 0.9},
    "inv": {"gamma": 0.1, "power": 0.5},
    "sigmoid": {"gamma": -0.1, "size": 10},
    "warm_up": {"steps": 3, "then": {"kind": "cosine"}},
}
FILES = {"Csv": "log.csv", "JsonLines": "log.jsonl", "Report": "page.html", "TensorBoard": "events"}
NAMESPACES = {
    "callback": tk.callbacks,
    "loss": tk.losses,
    "metric": tk.metrics,
    "optimizer": tk.optimizers,
    "transform": tk.optimizers,
}
NO_KINDS = {  # public names of these namespaces that describe no object of a training
    "AnyMetric",
    "Callback",
    "Custom",
    "Loss",
    "MeanMetric",
    "Metric",
    "Moment",
    "Optimizer",
    "OutputLoss",
    "Part",
    "Run",
    "TargetLoss",
    "Transform",
    "chain",
    "write_report",
}


def plain(family: str, given: Any) -> dict[str, Any]:
    return FAMILIES.plain(FAMILIES[family], given)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("true", True),
        ('"a, b"', "a, b"),
        ("encoder/*", "encoder/*"),
        ("[1, 2]", [1, 2]),
        ("[encoder/*, head]", ["encoder/*", "head"]),
        ("{a=1, b=[c, d]}", {"a": 1, "b": ["c", "d"]}),
        ("(cosine:end=0.1)", "cosine:end=0.1"),
        ("1979-05-27", "1979-05-27"),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values_are_written_as_in_toml_or_bare(text: str, value: Any):
    assert literal(text) == value


def test_commas_count_outside_of_brackets_and_quotes():
    assert split("a=[1,2],b=(x:y=1,z=2),c='p,q'") == ["a=[1,2]", "b=(x:y=1,z=2)", "c='p,q'"]
    assert parsed("focal:gamma=2, alpha=0.25") == {"kind": "focal", "gamma": 2, "alpha": 0.25}


@pytest.mark.parametrize(
    ("family", "text", "said"),
    [
        ("loss", "foca", "there is no loss 'foca' (did you mean Focal?); there are BinaryCrossEntropy"),
        ("loss", "focal:gama=2", "Focal has no parameter 'gama' (did you mean gamma?); it takes gamma, alpha"),
        ("loss", "focal:gamma=much", "Focal: gamma takes a number, got 'much'"),
        ("loss", "focal:gamma=true", "Focal: gamma takes a number, got True"),
        ("loss", "focal:gamma", "KIND:NAME=VALUE,NAME=VALUE is expected, got 'gamma'"),
        ("loss", "custom", "Custom: function must be a Python function"),
        ("loss", "distillation:teacher=t.onnx,loss=(fokal)", "there is no loss 'fokal' (did you mean Focal?)"),
        ("loss", "combined:losses=[l1]", "Combined: losses takes a table, got ['l1']"),
        ("loss", {"gamma": 2}, "a loss needs its kind, got {'gamma': 2}"),
        ("loss", 3, "a loss as text or table is expected, got 3"),
        ("optimizer", "adam:betas=[0.9]", "Adam: betas takes a list of 2, got [0.9]"),
        ("optimizer", "adam:betas=0.9", "Adam: betas takes a list, got 0.9"),
        ("optimizer", "adam:betas=[a, 0.9]", "Adam: betas takes a number, got 'a'"),
        ("optimizer", "adafactor:epsilon=[x, 1]", "epsilon takes a number, got 'x'"),
        ("schedule", "step", "step needs size: write step:size=VALUE"),
        ("augmentation", "flop=1", "Augmentation has no parameter 'flop' (did you mean flip?)"),
        ("augmentation", "flip=(1", "a ')' is missing"),
        ("augmentation", "flip=1)", "there is a ')' that closes nothing"),
        ("image folder", "size=big", "size takes a whole number or a list, got 'big'"),
    ],
)
def test_what_is_described_wrongly_is_one_line(family: str, text: Any, said: str):
    with pytest.raises(InputError) as caught:
        plain(family, text)
    assert said in str(caught.value)


def test_values_that_only_the_constructor_can_judge():
    with pytest.raises(ToolkitError, match="gamma requires a number in"):
        FAMILIES.built(FAMILIES["loss"], "focal:gamma=-1")
    with pytest.raises(InputError, match="Linear needs units"):
        FAMILIES.built(FAMILIES["layer"], "linear")
    with pytest.raises(InputError, match=r"Focal cannot be made of .*alpha"):
        FAMILIES.built(FAMILIES["loss"], "focal:alpha=[[1], [1, 2]]")


def test_descriptions_nest_and_become_plain_tables():
    text = "warm-up:steps=10,then=(cosine:end=0.5)"
    table = {"kind": "warm_up", "steps": 10, "then": {"kind": "cosine", "end": 0.5}}
    assert plain("schedule", text) == plain("schedule", table) == table
    schedule = FAMILIES.built(FAMILIES["schedule"], text)
    assert schedule(tk.schedules.Progress(4, steps=20)) == 0.5
    assert plain("optimizer", "adafactor:epsilon=[none,0.01]") == {"kind": "Adafactor", "epsilon": ["none", 0.01]}
    layers = FAMILIES.built(
        FAMILIES["layer"], "sequential:layers=[relu,(linear:weight_initialiser=(he_normal),units=3)]"
    )
    assert layers.layers[1].units == 3
    assert isinstance(layers.layers[1].weight_initialiser, tk.layers.initialisers.HeNormal)


def test_paths_inside_descriptions_can_be_moved():
    moved = FAMILIES.plain(FAMILIES["loss"], "distillation:teacher=t.onnx,loss=l1", lambda path: f"there/{path}")
    assert moved == {"kind": "Distillation", "teacher": "there/t.onnx", "loss": {"kind": "L1"}}


@pytest.mark.parametrize("family", NAMESPACES)
def test_everything_public_is_a_kind(family: str):
    found = {name for item in FAMILIES for name in item.kinds}
    assert set(NAMESPACES[family].__all__) - found - NO_KINDS == set()


def test_every_schedule_is_a_kind():
    public = {
        name
        for name, item in vars(tk.schedules).items()
        if getattr(item, "__module__", "") == tk.schedules.__name__ and not name.startswith("_")
    }
    assert public - set(FAMILIES["schedule"].kinds) == {"Pace", "Progress"}


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (family.name, kind)
        for family in FAMILIES
        if family.name not in ("layer", "image folder")
        for kind in family.kinds
    ],
)
def test_every_kind_can_be_described(family: str, kind: str, model: Path):
    given = {"kind": kind, **BY_HAND.get(kind, {})} if not FAMILIES[family].is_single else {}
    if "teacher" in inspect.signature(FAMILIES[family].kinds[kind]).parameters:
        given["teacher"] = str(model)
    if kind in FILES:
        given["path" if kind != "TensorBoard" else "folder"] = str(model.with_name(FILES[kind]))
    supplied = {"learning_rate": 0.1} if family == "optimizer" else {}
    table = FAMILIES.plain(FAMILIES[family], given)
    assert FAMILIES.plain(FAMILIES[family], table) == table
    assert FAMILIES.built(FAMILIES[family], table, **supplied) is not None


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_families_are_listed(cli: Cli, family: str):
    outcome = cli("finetune", "--list", FAMILIES[family].plural)
    assert outcome.status == 0
    assert all(kind in outcome.out for kind in FAMILIES[family].kinds)
    assert ("Custom is left to Python" in outcome.out) == (family == "loss")


def test_a_family_that_there_is_not(cli: Cli):
    outcome = cli("finetune", "--list", "looses")
    assert outcome.status == 2
    assert "did you mean losses?" in outcome.complaint
