"""Fine-tune a model that scikit-learn trained and skl2onnx exported, as if the file were all that is left of it.

The classifier has seen 200 of scikit-learn's handwritten digits. It is loaded from its ONNX file and trained on 997
others; 150 more choose the epoch. Before and after, ONNX Runtime judges the files on 450 that nothing else has seen.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import onnxruntime
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import toolkit as tk
from exporters import diff, save
from importers import load

SEEN_BEFORE, CHOOSING, HELD_OUT = 200, 150, 450
LARGEST_DISTANCE = 1e-4  # between our probabilities and those of ONNX Runtime
Labelled = tuple[np.ndarray, np.ndarray]


def digits() -> dict[str, Labelled]:
    """Images as float32 (items, 64) in [0, 1] with their digits, in four parts that share no item."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    x, held_x, y, held_y = train_test_split(x, y, test_size=HELD_OUT, random_state=0, stratify=y)
    chosen, first = slice(SEEN_BEFORE, SEEN_BEFORE + CHOOSING), SEEN_BEFORE + CHOOSING
    return {
        "seen before": (x[:SEEN_BEFORE], y[:SEEN_BEFORE]),
        "choosing": (x[chosen], y[chosen]),
        "training": (x[first:], y[first:]),
        "held out": (held_x, held_y),
    }


def make_model(path: Path, seen: Labelled) -> None:
    """What somebody else did: train with scikit-learn, export with skl2onnx."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is meant to stop early
        classifier = MLPClassifier((64,), max_iter=60, random_state=0).fit(*seen)
    path.write_bytes(to_onnx(classifier, seen[0][:1], options={"zipmap": False}).SerializeToString())


def accuracy(path: Path, held_out: Labelled) -> tuple[float, np.ndarray]:
    """The share of held-out digits that ONNX Runtime gets right with the file, and its probabilities (items, 10)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(["label", "probabilities"], {"X": held_out[0]})
    return float(np.mean(label == held_out[1])), probabilities


def confusion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often each digit (row) was taken for each digit (column), (10, 10)."""
    table = np.zeros((10, 10), np.int64)
    np.add.at(table, (labels, probabilities.argmax(1)), 1)
    return table


def draw(path: Path, tables: dict[str, np.ndarray], history: tk.History) -> None:
    """A picture: the accuracy over the epochs, and what is taken for what before and after."""
    mpl.use("Agg")
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    numbers = [epoch.number for epoch in history]
    axes[0].plot(numbers, history["accuracy"], label="training")
    axes[0].plot(numbers, history["validation accuracy"], label="validation")
    axes[0].set(title="Fine-tuning", xlabel="epoch", ylabel="accuracy")
    axes[0].legend()
    for axis, (title, table) in zip(axes[1:], tables.items(), strict=True):
        axis.imshow(np.log1p(table), cmap="Blues")
        axis.set(title=title, xlabel="predicted digit", ylabel="true digit", xticks=range(10), yticks=range(10))
        for row, column in np.argwhere(table):
            shade = "white" if table[row, column] > 10 else "black"
            axis.text(column, row, str(table[row, column]), ha="center", va="center", color=shade, fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Make the model, fine-tune it, save it, check it, report."""
    parser = argparse.ArgumentParser(description="Fine-tune scikit-learn's digits classifier from its ONNX file.")
    parser.add_argument("--output", type=Path, default=Path("samples/output"), help="folder for models and picture")
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    original, tuned = options.output / "digits.onnx", options.output / "digits-tuned.onnx"
    data = digits()
    held_out = data["held out"]
    make_model(original, data["seen before"])

    network = load(original)
    loss = tk.losses.SoftmaxCrossEntropy(output="probabilities", probabilities=True)
    trainer = tk.Trainer(network, loss=loss, optimizer=tk.optimizers.Adam(2e-3))
    history = trainer.fit(data["training"], epochs=options.epochs, validation=data["choosing"])
    save(network, tuned)

    before, old = accuracy(original, held_out)
    after, new = accuracy(tuned, held_out)
    distance = float(np.abs(network.run(held_out[0])["probabilities"] - new).max())
    changes = {str(change) for change in diff(original, tuned)}
    trained = {f"initializer {name!r}: values" for name, item in network.parameters.items() if item.requires_grad}

    table = Table("", "before", "after", title=f"scikit-learn's digits, {len(held_out[1])} held out")
    table.add_row("accuracy in ONNX Runtime", f"{before:.1%}", f"{after:.1%}")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    console.print(f"trained on {len(data['training'][1])} digits: {history.message}")
    console.print(f"largest difference between our probabilities and ONNX Runtime's: {distance:.1e}")
    console.print(f"the two files differ in: {'; '.join(sorted(changes))}")
    tables = {f"before: {before:.1%}": confusion(old, held_out[1]), f"after: {after:.1%}": confusion(new, held_out[1])}
    draw(options.output / "digits.png", tables, history)
    console.print(f"written to {options.output}: {original.name}, {tuned.name}, digits.png")

    if distance > LARGEST_DISTANCE or after <= before or not changes <= trained:
        raise SystemExit("The tuned file is not what was trained, is no better, or differs in more than its weights.")


if __name__ == "__main__":
    main()
