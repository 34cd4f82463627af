"""Every sample runs, in a hurry, and keeps the promise it makes for that.

Samples whose data is not there are skipped, and shown to say what they need. All run in this process, as if started on
their own: what they import would take longer than what they do.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
ASSETS = ROOT.parent / "shared" / "assets"
QUICK = {  # arguments, and what is needed of the folder of assets
    "digits": (["--epochs", "20"], []),
    "distillation": (["--quick"], ["data/mnist", "models/mnist_burn"]),
    "lora": (["--quick"], ["data/mnist", "data/kmnist_test", "models/selfattn_mnist"]),
    "mackey_glass": (["--quick"], []),
    "mnist": (["--quick"], ["data/mnist"]),
    "new_head": (["--quick"], ["data/kmnist_test", "models/mnist8_cntk"]),
    "quantised_keywords": (["--quick"], ["data/fsdd_subset", "models/micro_kws_fp32"]),
    "seed_benchmarks": (["--quick"], []),
    "sms_spam": (["--quick"], ["data/sms_spam"]),
    "spoken_digits": (["--quick"], ["data/fsdd_subset"]),
}
PRINTED = {"digits": r"trained on \d+ digits", "seed_benchmarks": r"(?m)^small +1 "}
WITHOUT_DATA = {  # what a sample says when there is nothing where it looks
    "distillation": "MNIST in its original files",
    "lora": "Kuzushiji-MNIST's test images",
    "mnist": "MNIST in its original files",
    "new_head": "Kuzushiji-MNIST's test images",
    "sms_spam": "the SMS Spam Collection",
    "spoken_digits": "recordings of the Free Spoken Digit data set",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty folder to stand in, and the samples where Python looks first, as for one that is started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(SAMPLES))
    return monkeypatch


def run(name: str, *arguments: str, elsewhere: pytest.MonkeyPatch) -> None:
    """Run a sample as if it was started with these arguments."""
    elsewhere.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_path(str(SAMPLES / f"{name}.py"), run_name="__main__")


def test_every_sample_is_tested():
    runnable = {path.stem for path in SAMPLES.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert runnable == set(QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_keeps_its_promise_in_a_hurry(name: str, elsewhere: pytest.MonkeyPatch, capsys):
    arguments, needed = QUICK[name]
    missing = [item for item in needed if not (ASSETS / item).exists()]
    if missing:
        pytest.skip(f"needs assets beside the repository: {', '.join(missing)}")
    run(name, *arguments, elsewhere=elsewhere)
    printed = capsys.readouterr().out
    assert re.search(PRINTED.get(name, r": [\d.]+ \(at least [\d.]+ is promised\)"), printed), printed


def test_networks_of_mnist_learn_without_any_download(elsewhere: pytest.MonkeyPatch, capsys):
    run("mnist", "linear", "conv", "--small", "--quick", elsewhere=elsewhere)
    assert len(re.findall(r"accuracy on 450 held-out images: [01]\.\d+", capsys.readouterr().out)) == 2


def test_a_broken_promise_is_an_error_with_the_figure(elsewhere: pytest.MonkeyPatch):
    require = runpy.run_path(str(SAMPLES / "data_sets.py"))["require"]
    with pytest.raises(SystemExit, match=r"^accuracy: 0\.5000, below the 0\.9 that this sample promises\.$"):
        require("accuracy", 0.5, 0.9)
    with pytest.raises(SystemExit, match="accuracy: nan"):
        require("accuracy", float("nan"), 0.9)


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_a_sample_without_its_data_says_in_one_line_what_it_needs(name: str, elsewhere: pytest.MonkeyPatch):
    wanted = re.escape(WITHOUT_DATA[name])
    line = rf"^This sample needs {wanted} at \S+\. Name another place on the command line \(--help\)\.$"
    with pytest.raises(SystemExit, match=line):
        run(name, "--data", "nowhere", elsewhere=elsewhere)
