"""Recognise spoken digits: recordings become mel spectrograms, made here with numpy, and a small network reads those.

Trained on takes 5 to 14 of six speakers, judged on takes 0 to 4, as the Free Spoken Digit data set has it.
"""

from __future__ import annotations

import time

import numpy as np

import toolkit as tk
from data_sets import SPEECH_RATE, Labelled, command_line, require, spoken_digits
from toolkit import layers

WINDOW, HOP, SPECTRUM = 240, 160, 256  # samples: 30 ms every 20 ms, and the length of the Fourier transform
FRAMES, BANDS = 49, 40  # one second
LOWEST = 60  # hertz
FLOOR = 1e-6  # added to energies before the logarithm
BAR, QUICK_BAR = 0.97, 0.5


def mel_filters() -> np.ndarray:
    """Triangles (SPECTRUM / 2 + 1, ``BANDS``) of equal width on the mel scale, from ``LOWEST`` to half the rate."""
    low, high = (2595 * float(np.log10(1 + hertz / 700)) for hertz in (LOWEST, SPEECH_RATE / 2))
    mels = np.linspace(low, high, BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.fft.rfftfreq(SPECTRUM, 1 / SPEECH_RATE)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(recordings: np.ndarray) -> np.ndarray:
    """Logarithms of the energies in mel bands, float32 (items, ``FRAMES``, ``BANDS``), of (items, samples)."""
    starts = HOP * np.arange(FRAMES)[:, None]
    frames = recordings[:, starts + np.arange(WINDOW)] * np.hanning(WINDOW).astype(np.float32)
    energies = np.abs(np.fft.rfft(frames, SPECTRUM)) ** 2
    return np.log(energies @ mel_filters() + FLOOR).astype(np.float32)


def placed(recordings: list[np.ndarray], random: np.random.Generator | None = None) -> np.ndarray:
    """Recordings in one array (items, samples) of a second each, in the middle of it or where ``random`` has it."""
    length = HOP * (FRAMES - 1) + WINDOW
    array = np.zeros((len(recordings), length), np.float32)
    for row, recording in zip(array, recordings, strict=True):
        room = abs(length - len(recording))
        at = room // 2 if random is None else int(random.integers(room + 1))
        if len(recording) <= length:
            row[at : at + len(recording)] = recording
        else:
            row[:] = recording[at : at + length]
        if random is not None:
            row *= random.uniform(0.5, 1.5)
            row += random.normal(0, 10 ** random.uniform(-5, -2.5), length).astype(np.float32)
    return array


def features(
    recordings: list[np.ndarray], labels: np.ndarray, is_test: np.ndarray, copies: int
) -> tuple[Labelled, Labelled]:
    """Training and test data, (items, ``FRAMES``, ``BANDS``) of mean 0 and variance 1 in training.

    Each training recording is there once as it is and ``copies`` times moved in time, louder or softer, in noise.
    """
    training = [recording for recording, test in zip(recordings, is_test, strict=True) if not test]
    testing = [recording for recording, test in zip(recordings, is_test, strict=True) if test]
    random = np.random.default_rng(0)
    x = np.concatenate([log_mel(placed(training)), *(log_mel(placed(training, random)) for _ in range(copies))])
    mean, deviation = x.mean(), x.std()
    held_x = (log_mel(placed(testing)) - mean) / deviation
    return ((x - mean) / deviation, np.tile(labels[~is_test], 1 + copies)), (held_x, labels[is_test])


def network() -> tk.Network:
    """Three convolutions over time and mel bands, an average over both, one linear layer."""
    blocks: list[layers.Definition] = [layers.Reshape((1, FRAMES, BANDS))]
    for filters in (16, 32, 64):
        blocks += [
            layers.Convolution(filters, 3, pads="same", bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPool(2),
        ]
    blocks += [layers.Dropout(0.3), layers.Flatten(), layers.Linear(10)]
    return layers.Sequential(blocks).network((FRAMES, BANDS))


def main() -> None:
    """Train, and report the accuracy and what is taken for what."""
    options = command_line("Recognise spoken digits from their mel spectrograms.").parse_args()
    start = time.perf_counter()
    copies, epochs = (0, 6) if options.quick else (5, 12)
    training, held_out = features(*spoken_digits(options.data), copies)
    trainer = tk.Trainer(network(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.AdamW(3e-3))
    trainer.fit(training, epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)

    confusion = tk.metrics.ConfusionMatrix()
    figures = trainer.evaluate(held_out, metrics={"accuracy": tk.metrics.Accuracy(), "confusion": confusion})
    print(f"{trainer.steps} steps in {time.perf_counter() - start:.0f} s")
    print(confusion)
    bar = QUICK_BAR if options.quick else BAR
    require(f"accuracy on {len(held_out[1])} recordings held out", figures["accuracy"], bar)


if __name__ == "__main__":
    main()
