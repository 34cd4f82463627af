"""Predict a chaotic series, integrated here from the delay equation of Mackey and Glass, with an LSTM.

    dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t)

The network sees sixteen values, six units of time apart, and predicts the next one. It learns from the first part of
the series and is judged on the last: its error must be a tenth of that of persistence, which says that nothing changes.
The seed's network (two layers of five LSTM units, half of them dropped out, a sigmoid at the end) is kept in form, with
more units and without dropout, which costs a regression the precision asked for here.
"""

from __future__ import annotations

import time

import numpy as np

import toolkit as tk
from data_sets import Labelled, command_line, require
from toolkit import layers

DELAY, DECAY, GAIN, POWER = 17.0, 0.1, 0.2, 10
STEPS_A_UNIT = 10  # of the integration
STRIDE, WINDOW = 6, 16
TRANSIENT, LENGTH, TRAINED = 500, 8000, 6000  # units of time
BETTER, BETTER_IN_A_HURRY = 10.0, 2.0
LOW, HIGH = 0.1, 1.5  # the series stays within


def series(length: int, *, start: float = 1.2) -> np.ndarray:
    """x at 0, 1, 2, ... units behind the transient, float64 (``length``,), by the Runge-Kutta method of fourth order.

    What the half steps need of the past is interpolated by a cubic through four points, which keeps the order.
    """
    delay, step = round(DELAY * STEPS_A_UNIT), 1.0 / STEPS_A_UNIT
    x = [start] * (delay + 2)

    def slope(now: float, past: float) -> float:
        return GAIN * past / (1 + past**POWER) - DECAY * now

    for at in range(len(x) - 1, len(x) + (TRANSIENT + length) * STEPS_A_UNIT):
        before, left, right, behind = x[at - delay - 1], x[at - delay], x[at - delay + 1], x[at - delay + 2]
        middle = (9 * (left + right) - before - behind) / 16
        first = slope(x[at], left)
        second = slope(x[at] + step / 2 * first, middle)
        third = slope(x[at] + step / 2 * second, middle)
        fourth = slope(x[at] + step * third, right)
        x.append(x[at] + step / 6 * (first + 2 * second + 2 * third + fourth))
    return np.array(x)[delay + TRANSIENT * STEPS_A_UNIT :: STEPS_A_UNIT][:length]


def windows(x: np.ndarray) -> Labelled:
    """Inputs (items, ``WINDOW``, 1) and the value ``STRIDE`` units behind each, (items, 1), scaled into (0, 1)."""
    scaled = ((x - LOW) / (HIGH - LOW)).astype(np.float32)
    first = np.arange(len(x) - STRIDE * WINDOW)[:, None]
    return scaled[first + STRIDE * np.arange(WINDOW)][..., None], scaled[first + STRIDE * WINDOW]


def main() -> None:
    """Integrate, train, and compare with persistence."""
    options = command_line("Predict the Mackey-Glass series with an LSTM.", data=False).parse_args()
    start, x = time.perf_counter(), series(LENGTH)
    training, held_out = windows(x[:TRAINED]), windows(x[TRAINED:])

    network = layers.Sequential(
        [layers.LSTM(32, layers=2, sequence=False), layers.Linear(1), layers.Sigmoid()]
    ).network((WINDOW, 1))
    optimizer = tk.optimizers.chain(tk.optimizers.ClipByGlobalNorm(1.0), tk.optimizers.Adam(1e-2))
    trainer = tk.Trainer(network, loss=tk.losses.MeanSquaredError(), optimizer=optimizer)
    epochs = 3 if options.quick else 40
    trainer.fit(training, epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)

    figures = trainer.evaluate(held_out, metrics={"error": tk.metrics.RootMeanSquaredError()})
    persistence = float(np.sqrt(np.mean((held_out[0][:, -1] - held_out[1]) ** 2)))
    print(f"{trainer.steps} steps in {time.perf_counter() - start:.0f} s")
    print(f"root mean squared error on the held-out {len(held_out[1])} values, of a range of 1")
    print(f"  persistence {persistence:.5f}, network {figures['error']:.5f}")
    bar = BETTER_IN_A_HURRY if options.quick else BETTER
    require("times better than persistence", persistence / figures["error"], bar)


if __name__ == "__main__":
    main()
