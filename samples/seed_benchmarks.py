"""Time the networks that the seed of this toolkit was measured by: AlexNet, OverFeat and VGG, and a small one.

    python samples/seed_benchmarks.py                     all of them, 4 images at a time
    python samples/seed_benchmarks.py vgg --batch-size 16

Forward is inference; forward and backward are the two passes of training, with gradients for all weights and the input.
Weights are random, which changes no time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from toolkit import layers

CLASSES = 1000
Blocks = list[layers.Definition]


def convolution(filters: int, kernel: int, strides: int = 1, pads: int = 0) -> Blocks:
    """A convolution and its ReLU."""
    return [layers.Convolution(filters, kernel, strides, pads), layers.ReLU()]


def classifier(*widths: int) -> Blocks:
    """Linear layers with ReLU and dropout between them, and one for the classes."""
    blocks: Blocks = [layers.Flatten()]
    for width in widths:
        blocks += [layers.Linear(width), layers.ReLU(), layers.Dropout(0.5)]
    return [*blocks, layers.Linear(CLASSES)]


def alexnet() -> Blocks:
    """Krizhevsky's network for one processor (2014), images of 224 x 224."""
    return [
        *convolution(64, 11, strides=4, pads=2),
        layers.MaxPool(3, 2),
        *convolution(192, 5, pads=2),
        layers.MaxPool(3, 2),
        *convolution(384, 3, pads=1),
        *convolution(256, 3, pads=1),
        *convolution(256, 3, pads=1),
        layers.MaxPool(3, 2),
        *classifier(4096, 4096),
    ]


def overfeat() -> Blocks:
    """The fast model of Sermanet et al. (2014), images of 231 x 231."""
    return [
        *convolution(96, 11, strides=4),
        layers.MaxPool(2),
        *convolution(256, 5),
        layers.MaxPool(2),
        *convolution(512, 3, pads=1),
        *convolution(1024, 3, pads=1),
        *convolution(1024, 3, pads=1),
        layers.MaxPool(2),
        *classifier(3072, 4096),
    ]


def vgg() -> Blocks:
    """Configuration A of Simonyan & Zisserman (2015), images of 224 x 224."""
    blocks: Blocks = []
    for filters, count in ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)):
        for _ in range(count):
            blocks += convolution(filters, 3, pads=1)
        blocks.append(layers.MaxPool(2))
    return [*blocks, *classifier(4096, 4096)]


def small() -> Blocks:
    """The seed's network of two linear layers for MNIST."""
    return [layers.Flatten(), layers.Linear(1568), layers.Sigmoid(), layers.Linear(10)]


NETWORKS: dict[str, tuple[Callable[[], Blocks], tuple[int, int, int]]] = {
    "alexnet": (alexnet, (3, 224, 224)),
    "overfeat": (overfeat, (3, 231, 231)),
    "vgg": (vgg, (3, 224, 224)),
    "small": (small, (1, 28, 28)),
}


def median(work: Callable[[], object], rounds: int) -> float:
    """The median time of a call in milliseconds, after one that is not counted."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def measure(name: str, batch_size: int, rounds: int) -> dict[str, float]:
    """Milliseconds of each pass of a network at a batch size."""
    blocks, shape = NETWORKS[name]
    network = layers.Sequential(blocks()).network(shape, output_name="scores")
    random = np.random.default_rng(0)
    x = {"input": random.standard_normal((batch_size, *shape), np.float32)}
    inference = network.context(batch_size=batch_size)
    times = {"forward": median(lambda: inference.run(x), rounds)}
    training = network.context(batch_size=batch_size, training=True)
    towards = {"scores": random.standard_normal(training.forward(x)["scores"].shape, np.float32)}

    def both() -> dict[str, object]:
        training.forward(x)
        return training.backward(towards)

    gradients = training.backward(towards)["parameters"]
    if not gradients or not all(np.isfinite(item).all() and item.any() for item in gradients.values()):
        raise SystemExit(f"{name}: some weights got no gradient.")
    times["training forward"] = median(lambda: training.forward(x), rounds)
    times["forward and backward"] = median(both, rounds)
    times["backward"] = times["forward and backward"] - times["training forward"]
    return times


def report(names: Sequence[str], batch_size: int, rounds: int) -> None:
    """Print a table: milliseconds a pass, and images a second of both training passes."""
    columns = ("forward", "training forward", "backward", "forward and backward")
    print(
        f"{'network':<10}{'batch':>6}" + "".join(f"{column + ', ms':>26}" for column in columns) + f"{'images/s':>11}"
    )
    for name in names:
        size = 1 if name == "small" else batch_size
        times = measure(name, size, rounds)
        cells = "".join(f"{times[column]:>26.2f}" for column in columns)
        print(f"{name:<10}{size:>6}{cells}{size / times['forward and backward'] * 1e3:>11.1f}", flush=True)


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(description="Time the seed's benchmark networks, forward and backward.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"{', '.join(NETWORKS)}; all by default")
    parser.add_argument("--batch-size", type=int, default=4, help="images at a time (the small network: always 1)")
    parser.add_argument("--rounds", type=int, default=5, help="passes whose median counts")
    parser.add_argument("--quick", action="store_true", help="the small network, one round")
    options = parser.parse_args()
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    if options.batch_size < 1 or options.rounds < 1:
        parser.error("--batch-size and --rounds are at least 1")
    names = ["small"] if options.quick else options.networks or list(NETWORKS)
    report(names, options.batch_size, 1 if options.quick else options.rounds)


if __name__ == "__main__":
    main()
