"""Tell spam from other text messages: words become numbers by hashing, and a network learns what they mean.

Every message counts once: the collection repeats some 400, and a repetition that is held out would be known already.
"""

from __future__ import annotations

import re
import time
import zlib

import numpy as np

import toolkit as tk
from data_sets import command_line, messages, require
from toolkit import layers

WORDS, LONGEST = 8192, 48  # different numbers of words, 0 for none; words that are read of a message
PIECE = re.compile(r"[a-z']+|\d+|[^\w\s]")
HELD_OUT, SHOWN = 1200, 3
BAR, F1_BAR, QUICK_BAR, QUICK_F1_BAR = 0.98, 0.92, 0.9, 0.5


def numbered(texts: list[str]) -> np.ndarray:
    """Words and marks as numbers below ``WORDS``, int64 (items, ``LONGEST``), 0 behind the end.

    The number of a word is a checksum: nothing has to be learnt or kept, and no word is unknown. Of digits it matters
    how many there are: prices are short, telephone numbers long.
    """
    numbers = np.zeros((len(texts), LONGEST), np.int64)
    for row, text in zip(numbers, texts, strict=True):
        words = [f"digits {len(word)}" if word.isdigit() else word for word in PIECE.findall(text.lower())[:LONGEST]]
        row[: len(words)] = [zlib.crc32(word.encode()) % (WORDS - 1) + 1 for word in words]
    return numbers


def network() -> tk.Network:
    """A vector for each word, a convolution over three neighbours, the strongest response anywhere, two classes."""
    return layers.Sequential(
        [
            layers.Embedding(WORDS, 32, weight_initialiser=layers.initialisers.Normal(0.0, 0.3)),
            layers.Dropout(0.3),
            layers.Transpose((2, 1)),
            layers.Convolution(64, 3, pads="same"),
            layers.ReLU(),
            layers.GlobalMaxPool(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Linear(2),
        ]
    ).network((LONGEST,), dtype=np.int64, input_name="words", output_name="scores")


def main() -> None:
    """Train, judge, and show the most certain mistakes."""
    options = command_line("Tell spam from other text messages.").parse_args()
    start = time.perf_counter()
    texts, labels = messages(options.data)
    x, order = numbered(texts), np.random.default_rng(0).permutation(len(texts))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    trainer = tk.Trainer(
        network(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.AdamW(3e-3, weight_decay=0.05)
    )
    epochs = 2 if options.quick else 12
    trainer.fit((x[rest], labels[rest]), epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)

    metrics = {
        "accuracy": tk.metrics.Accuracy(),
        "precision": tk.metrics.Precision("binary"),
        "recall": tk.metrics.Recall("binary"),
        "F1": tk.metrics.F1("binary"),
    }
    figures = trainer.evaluate((x[held], labels[held]), metrics=metrics)
    print(f"{trainer.steps} steps in {time.perf_counter() - start:.0f} s")
    print(f"of what is called spam {figures['precision']:.1%} is; of the spam {figures['recall']:.1%} is found")
    scores = trainer.network.run(x[held])["scores"]
    surprise = scores[np.arange(HELD_OUT), 1 - labels[held]] - scores[np.arange(HELD_OUT), labels[held]]
    for place in surprise.argsort()[::-1][:SHOWN]:
        print(f"  {'spam' if labels[held[place]] else 'no spam'}, to our surprise: {texts[held[place]][:90]}")
    require("F1 of spam", figures["F1"], QUICK_F1_BAR if options.quick else F1_BAR)
    require(f"accuracy on {HELD_OUT} messages held out", figures["accuracy"], QUICK_BAR if options.quick else BAR)


if __name__ == "__main__":
    main()
