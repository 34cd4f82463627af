"""The README keeps its word: its example runs, its operator works as described, its commands and folders exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from toolkit.cli.application import COMMANDS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE, TOUR, RECORD, ROW = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

USE_THE_OPERATOR = """
import toolkit as tk
from exporters import diff, save
from importers import load

rng = np.random.default_rng(0)
x = rng.standard_normal((32, 4)).astype(np.float32)
network = load("snake.onnx")
w = network.parameters["w"].array
y = network.run(x)["y"]
np.testing.assert_allclose(y, x @ w + np.sin(x @ w) ** 2, rtol=1e-5, atol=1e-5)

trainer = tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=tk.optimizers.Adam(1e-2))
first, _ = trainer.train_minibatch(x, y + 0.5)
for _ in range(20):
    last, _ = trainer.train_minibatch(x, y + 0.5)
assert last < first, (first, last)
save(network, "snake-tuned.onnx")
assert [str(change) for change in diff("snake.onnx", "snake-tuned.onnx")] == ["initializer 'w': values"]
"""


def execute(code: str, folder: Path) -> str:
    """Run code in a process of its own, so that what it registers stays there."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_fine_tunes_and_agrees_with_onnxruntime(tmp_path: Path):
    assert len(EXAMPLE.splitlines()) <= 45
    output = execute(EXAMPLE, tmp_path)
    before, after = (float(text) for text in re.findall(r"(0\.\d+|1\.0+) (?:before|after)", output))
    assert after > before + 0.02
    distance = re.search(r"difference from ONNX Runtime: (\S+)", output)
    assert distance is not None
    assert float(distance[1]) < 1e-4
    changes = output.splitlines()[2:]
    assert len(changes) == 4
    assert all(re.fullmatch(r"initializer '(coefficient|intercepts)1?': values", change) for change in changes)


def test_the_longer_example_learns_and_leaves_its_files(tmp_path: Path):
    accuracy = re.search(r"'accuracy': ([\d.]+)", execute(TOUR, tmp_path))
    assert accuracy is not None
    assert float(accuracy[1]) > 0.75
    merged = onnxruntime.InferenceSession(str(tmp_path / "merged.onnx"), providers=["CPUExecutionProvider"])
    assert merged.run(None, {"input": np.zeros((2, 12, 8), np.float32)})[0].shape == (2, 3)
    adapter = onnxruntime.LoraAdapter()
    adapter.Load(str(tmp_path / "small.onnx_adapter"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, which is compiled once for all checks."""
    tree = tmp_path_factory.mktemp("readme") / "tree"
    for name in ("toolkit", "importers", "exporters", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.fixture
def copy(tree: Path) -> Path:
    """The copy with the change of the README made, and no other."""
    (tree / "toolkit/operators/snake.py").write_text(RECORD, encoding="utf-8")
    (tree / "tests/cases/snake.py").write_text(ROW, encoding="utf-8")
    families = "toolkit/operators/families.py"
    listed = (ROOT / families).read_text(encoding="utf-8")
    assert '    "standard.softmax",\n' in listed
    listed = listed.replace('    "standard.softmax",\n', '    "snake",\n    "standard.softmax",\n')
    (tree / families).write_text(listed, encoding="utf-8")
    return tree


def check(tree: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The checks of operators that name the new one, and ``more`` files with those of the tree's law."""
    words = ["-k", "snake or test_every", "-q", "-p", "no:cacheprovider"]
    words = ["tests/operators/test_cases.py", *more, *words]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tree / "bytecode")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_added_operator_passes_every_check(copy: Path):
    done = check(copy, "tests/test_architecture.py")
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 4 + 7  # two checks of its rows, two of all records; seven rules of the tree


@pytest.mark.parametrize(
    ("path", "old", "new", "failure"),
    [
        ("toolkit/operators/snake.py", "call.x * 2.0", "call.x * 3.0", "test_gradient_is_slope_of_reference"),
        (
            "toolkit/operators/snake.py",
            "np.sin(x) ** 2,",
            "np.sin(x),",
            "test_reference_has_the_inferred_type_and_agrees_with_judge",
        ),
        ("tests/cases/snake.py", "CASES = [", "CASES: list[Case] = []\nDROPPED = [", "test_every_record_has_a_case"),
    ],
    ids=["gradient", "reference", "no row"],
)
def test_a_mistake_in_the_added_operator_is_found(copy: Path, path: str, old: str, new: str, failure: str):
    file = copy / path
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    done = check(copy)
    assert done.returncode == 1
    assert f"FAILED tests/operators/test_cases.py::{failure}" in done.stdout


def test_a_model_with_the_added_operator_runs_and_trains(tmp_path: Path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21, "com.example": 1]>'
        "snake (float[N, 4] x) => (float[N, 3] y) { z = MatMul(x, w) y = com.example.Snake(z) }"
    )
    w = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    (tmp_path / "snake.onnx").write_bytes(model.SerializeToString())
    execute(RECORD + USE_THE_OPERATOR, tmp_path)


def test_the_table_lists_every_command():
    assert set(re.findall(r"^\| `onnx-toolkit (\w+)", README, re.MULTILINE)) == set(COMMANDS)


def test_the_tree_names_what_exists():
    tree = re.search(r"## The tree\n+```\n(.*?)```", README, re.DOTALL)
    assert tree is not None
    for line in tree[1].splitlines():
        name = line.split()[0]
        parent = ROOT if not line.startswith(" ") else ROOT / "toolkit"
        assert (parent / name).exists(), f"the tree names {name}"
    listed = {line.split()[0].rstrip("/") for line in tree[1].splitlines() if line.startswith(" ")}
    assert {path.name for path in (ROOT / "toolkit").iterdir() if (path / "__init__.py").exists()} <= listed


def test_ci_installs_and_tests_as_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'pip install ".[dev]" && pytest' in README
    assert re.search(r'pip install (--[\w-]+ )*"\.\[dev\]"', script)
    assert re.search(r"^step tests pytest", script, re.MULTILINE)
