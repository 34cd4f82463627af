"""Every sample runs, in a hurry, in a process of its own, and keeps the promise it makes for that.

Samples whose data is not there are skipped, and shown to say what they need.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
WITHOUT_DATA = {  # what a sample says when there is nothing where it looks
    "distillation": "MNIST in its original files",
    "lora": "Kuzushiji-MNIST's test images",
    "mnist": "MNIST in its original files",
    "new_head": "Kuzushiji-MNIST's test images",
    "sms_spam": "the SMS Spam Collection",
    "spoken_digits": "recordings of the Free Spoken Digit data set",
}


def run(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A sample as somebody runs it who has installed the project and stands elsewhere."""
    return subprocess.run(
        [sys.executable, str(SAMPLES / f"{name}.py"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_every_sample_is_tested():
    runnable = {path.stem for path in SAMPLES.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    assert runnable == set(QUICK)


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_keeps_its_promise_in_a_hurry(name: str, tmp_path: Path):
    arguments, needed = QUICK[name]
    missing = [item for item in needed if not (ASSETS / item).exists()]
    if missing:
        pytest.skip(f"needs assets beside the repository: {', '.join(missing)}")
    done = run(name, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout


def test_networks_of_mnist_learn_without_any_download(tmp_path: Path):
    done = run("mnist", "linear", "conv", "--small", "--quick", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"accuracy on 450 held-out images: [01]\.\d+", done.stdout)) == 2


def test_a_broken_promise_is_an_error_with_the_figure(tmp_path: Path):
    code = "from data_sets import require\nrequire('accuracy', 0.5, 0.9)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{SAMPLES}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "accuracy: 0.5000, below the 0.9 that this sample promises.\n"


@pytest.mark.parametrize("name", WITHOUT_DATA)
def test_a_sample_without_its_data_says_in_one_line_what_it_needs(name: str, tmp_path: Path):
    done = run(name, "--data", str(tmp_path), folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"This sample needs {WITHOUT_DATA[name]} at \S+\. Name another place on the command line \(--help\)\.\n",
        done.stderr,
    )
