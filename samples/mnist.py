"""Train the seed's three networks on MNIST and judge them on its 10,000 test images.

    python samples/mnist.py               all three
    python samples/mnist.py conv          one of linear, mlp, conv
    python samples/mnist.py --small       on scikit-learn's digits, which need no download

The networks end in log-probabilities, as the redesign of Juice that this toolkit descends from had them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import toolkit as tk
from data_sets import Labelled, command_line, mnist, require
from toolkit import layers


@dataclass(frozen=True)
class Recipe:
    """A network, how it is trained, and the accuracy it is held to: on MNIST, on the small digits, and in a hurry.

    ``moves``: whether images are moved about in training, which a network that learns them by heart needs.
    """

    layers: Sequence[layers.Definition]
    rate: float
    epochs: int
    bar: float
    small_bar: float
    quick_bar: float
    moves: bool = False


RECIPES = {
    "linear": Recipe([layers.Flatten(), layers.Linear(10)], 5e-3, 10, 0.92, 0.93, 0.7),
    "mlp": Recipe(
        [layers.Flatten(), layers.Linear(1568), layers.Sigmoid(), layers.Linear(10)], 5e-3, 6, 0.975, 0.95, 0.75
    ),
    "conv": Recipe(
        [
            layers.Convolution(20, 5),
            layers.MaxPool(2),
            layers.Flatten(),
            layers.Linear(500),
            layers.Sigmoid(),
            layers.Linear(10),
        ],
        2e-3,
        6,
        0.988,
        0.97,
        0.75,
        moves=True,
    ),
}
SMALL_EPOCHS = 40
QUICK_ITEMS, QUICK_EPOCHS, QUICK_SMALL_EPOCHS = 3000, 3, 5


class Moved(tk.data.Source):
    """Images that a pass in training sees moved by up to a pixel along both axes, each by what is drawn for it."""

    def __init__(self, data: Labelled) -> None:
        self.digits = self.labels = data[1]
        self.padded = np.pad(data[0][:, 0], ((0, 0), (1, 1), (1, 1)))

    def __len__(self) -> int:
        return len(self.padded)

    def batch(self, rows: np.ndarray | slice, seed: int | None) -> Labelled:
        numbers, (height, width) = self.numbers(rows), self.padded.shape[1:]
        moves = np.ones((len(self), 2), np.int64)
        if seed is not None:
            moves = np.random.default_rng(seed).integers(0, 3, moves.shape)
        down, right = moves[numbers, 0, None, None], moves[numbers, 1, None, None]
        at = numbers[:, None, None], down + np.arange(height - 2)[:, None], right + np.arange(width - 2)
        return self.padded[at][:, None], self.digits[numbers]


def small_digits() -> tuple[Labelled, Labelled]:
    """scikit-learn's digits enlarged to the shape of MNIST's: 1,347 to train on, 450 held out."""
    x, y = load_digits(return_X_y=True)
    images = np.kron(x.reshape(-1, 8, 8) / 16, np.ones((3, 3))).astype(np.float32)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[:, None]
    train_x, held_x, train_y, held_y = train_test_split(images, y, test_size=450, random_state=0, stratify=y)
    return (train_x, train_y), (held_x, held_y)


def train(recipe: Recipe, training: Labelled, epochs: int) -> tk.Trainer:
    """A trainer whose network has seen ``training`` for so many epochs, the rate rising and falling once."""
    network = layers.Sequential([*recipe.layers, layers.LogSoftmax()]).network((1, 28, 28))
    trainer = tk.Trainer(
        network,
        loss=tk.losses.NegativeLogLikelihood(),
        optimizer=tk.optimizers.AdamW(recipe.rate, weight_decay=0.02),
    )
    data = Moved(training) if recipe.moves else training
    trainer.fit(data, epochs=epochs, batch_size=128, schedule=tk.schedules.one_cycle(), keep_best=False)
    return trainer


def main() -> None:
    """Train each network that was asked for; report accuracy and time."""
    parser = command_line("Train the seed's networks on MNIST.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"{', '.join(RECIPES)}; all by default")
    parser.add_argument("--small", action="store_true", help="use scikit-learn's digits: nothing to download")
    options = parser.parse_args()
    if unknown := set(options.networks) - set(RECIPES):
        parser.error(f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(RECIPES)}")
    training, held_out = small_digits() if options.small else (mnist(options.data, part) for part in ("train", "t10k"))
    if options.quick and not options.small:
        training, held_out = ((x[:QUICK_ITEMS], labels[:QUICK_ITEMS]) for x, labels in (training, held_out))

    for name in options.networks or RECIPES:
        recipe, start = RECIPES[name], time.perf_counter()
        epochs, bar = (SMALL_EPOCHS, recipe.small_bar) if options.small else (recipe.epochs, recipe.bar)
        if options.quick:
            epochs, bar = QUICK_SMALL_EPOCHS if options.small else QUICK_EPOCHS, recipe.quick_bar
        trainer = train(recipe, training, epochs)
        print(f"{name}: {trainer.steps} steps in {time.perf_counter() - start:.0f} s")
        require(f"{name}: accuracy on {len(held_out[1])} held-out images", trainer.evaluate(held_out)["accuracy"], bar)


if __name__ == "__main__":
    main()
