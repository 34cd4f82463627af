"""Bring a keyword spotter to weights of four bits: rounding alone costs accuracy, training with it wins that back.

The model, exported by tf2onnx from TensorFlow Lite, is fine-tuned on spoken digits first. Then its weights are rounded
to four bits and its activations to eight, once after training and once while it goes on training, step sizes included.
ONNX Runtime judges the three files.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime

import toolkit as tk
from data_sets import Labelled, command_line, require, spoken_digits, there
from exporters import save
from importers import load
from spoken_digits import BANDS, FRAMES, features

CALIBRATION = 256  # items that ranges of activations are taken from
BAR, QUICK_BAR, GAIN = 0.95, 0.3, 0.005


def fitted(network: tk.Network, training: Labelled, rate: float, epochs: int, *, rounds: bool = False) -> None:
    """Train a network that ends in a Softmax, through its rounding where there is some."""
    loss = tk.losses.SoftmaxCrossEntropy(probabilities=True)
    optimizer = tk.optimizers.chain(tk.optimizers.ClipByGlobalNorm(1.0), tk.optimizers.AdamW(rate))
    trainer = tk.Trainer(network, loss=loss, optimizer=optimizer, straight_through=rounds)
    trainer.fit(training, epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)


def judged(network: tk.Network, path: Path, held_out: Labelled) -> float:
    """The accuracy of a network as a file in ONNX Runtime, whose batch is the exporter's: one."""
    save(network, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    answers = [session.run(None, {name: item[None]})[0].argmax() for item in held_out[0]]
    accuracy = float(np.mean(answers == held_out[1]))
    print(f"{path.name}: accuracy {accuracy:.4f}, {path.stat().st_size} bytes")
    return accuracy


def main() -> None:
    """Fine-tune, quantise in two ways, compare."""
    options = command_line("Quantise a keyword spotter to four bits.", model="micro_kws_fp32").parse_args()
    start = time.perf_counter()
    copies, epochs, more = (0, 4, 1) if options.quick else (3, 12, 5)
    training, held_out = features(*spoken_digits(options.data), copies)
    training, held_out = ((x.reshape(-1, FRAMES * BANDS), labels) for x, labels in (training, held_out))
    network = load(there(options.model, "the keyword spotter micro_kws"))
    fitted(network, training, 3e-3, epochs)
    print(f"fine-tuned on {len(training[1])} recordings after {time.perf_counter() - start:.0f} s")

    few = training[0][:CALIBRATION]
    rounded = tk.quantisation.quantise(network, few, weights="int4")
    aware = tk.quantisation.prepare(network, few, weights="int4", learn_steps=True)
    fitted(aware.network, training, 1e-3, more, rounds=True)
    print(f"trained with {len(aware.layers)} layers rounded after {time.perf_counter() - start:.0f} s")

    options.output.mkdir(parents=True, exist_ok=True)
    judged(network, options.output / "keywords.onnx", held_out)
    after = judged(rounded, options.output / "keywords-rounded.onnx", held_out)
    within = judged(aware.convert(), options.output / "keywords-trained.onnx", held_out)
    bar = QUICK_BAR if options.quick else BAR
    require(f"accuracy with four bits on {len(held_out[1])} recordings held out", within, bar)
    require("gain over rounding alone", within - after, 0.0 if options.quick else GAIN)


if __name__ == "__main__":
    main()
