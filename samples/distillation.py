"""Let a small network learn from a teacher's answers where labels are rare.

The teacher is a convolutional network that somebody trained on MNIST with PyTorch; here it is only a file. 500 images
have labels; for 20,000 there is the teacher's opinion. A student a fifth of the teacher's size learns once from the
labels alone and once from the teacher.
"""

from __future__ import annotations

import time

import numpy as np

import toolkit as tk
from data_sets import Labelled, command_line, mnist, require, there
from importers import load
from toolkit import layers

LABELLED = 500
MEAN, DEVIATION = 0.1307, 0.3081  # of the pixels that the teacher was trained on
RATE, TEMPERATURE = 2e-3, 3.0
BAR, QUICK_BAR, GAIN = 0.955, 0.85, 0.05


def student() -> tk.Network:
    """Two linear layers."""
    blocks = [layers.Flatten(), layers.Linear(96), layers.ReLU(), layers.Linear(10)]
    return layers.Sequential(blocks).network((1, 28, 28))


def taught(loss: tk.losses.Loss, data: Labelled, epochs: int, held_out: Labelled) -> float:
    """The accuracy of a student that learns by ``loss``."""
    start = time.perf_counter()
    trainer = tk.Trainer(student(), loss=loss, optimizer=tk.optimizers.AdamW(RATE))
    trainer.fit(data, epochs=epochs, batch_size=128, schedule=tk.schedules.one_cycle(), keep_best=False)
    judge = tk.Trainer(trainer.network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=trainer.optimizer)
    print(f"{trainer.steps} steps in {time.perf_counter() - start:.0f} s")
    return judge.evaluate(held_out)["accuracy"]


def main() -> None:
    """Judge the teacher, teach both students, compare."""
    options = command_line("Distil a network from its teacher's answers.", model="mnist_burn").parse_args()
    (x, y), (held_x, held_y) = (mnist(options.data, part) for part in ("train", "t10k"))
    x, held_x = (x - np.float32(MEAN)) / np.float32(DEVIATION), (held_x - np.float32(MEAN)) / np.float32(DEVIATION)
    teacher = load(there(options.model, "a network for MNIST with log-probabilities"))
    sizes = [sum(p.array.size for p in net.parameters.values() if p.requires_grad) for net in (teacher, student())]
    print(f"the teacher has {sizes[0]} weights, the student {sizes[1]}")
    (output,) = teacher.outputs
    guesses = np.concatenate(
        [teacher.run(held_x[at : at + 500])[output].argmax(1) for at in range(0, len(held_x), 500)]
    )
    print(f"the teacher's own accuracy: {np.mean(guesses == held_y):.4f}")

    labels = tk.losses.SoftmaxCrossEntropy()
    alone = taught(labels, (x[:LABELLED], y[:LABELLED]), 60, (held_x, held_y))
    print(f"accuracy with {LABELLED} labels: {alone:.4f}")
    seen, epochs = (4000, 3) if options.quick else (20000, 10)
    unlabelled = np.full(seen, -1)  # no label is looked at
    distilled = taught(
        tk.losses.Distillation(teacher, temperature=TEMPERATURE), (x[:seen], unlabelled), epochs, (held_x, held_y)
    )
    require(f"accuracy with the teacher's answers to {seen} images", distilled, QUICK_BAR if options.quick else BAR)
    require("gain over labels alone", distilled - alone, 0.0 if options.quick else GAIN)


if __name__ == "__main__":
    main()
