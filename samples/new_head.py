"""Give a model that somebody else trained a new head, and teach it other classes.

The model zoo's MNIST network, exported by CNTK, knows digits. It gets a head for ten characters of cursive Japanese,
with their names in the file: first the head alone learns, then everything. ONNX Runtime judges the file that is saved.
"""

from __future__ import annotations

import time

import numpy as np
import onnxruntime

import toolkit as tk
from data_sets import KANA, command_line, kuzushiji, require, there
from exporters import save
from importers import load
from toolkit import layers

BAR, QUICK_BAR = 0.84, 0.6
LARGEST_DISTANCE = 1e-3  # between our scores and those of ONNX Runtime
BRIGHTEST = 255  # what the model was trained on: pixels as they come


def main() -> None:
    """Replace the head, train in two stages, save, and let ONNX Runtime judge."""
    options = command_line("Give the model zoo's MNIST network a new head.", model="mnist8_cntk").parse_args()
    (x, y), (held_x, held_y) = kuzushiji(options.data)
    x, held_x, start = x * BRIGHTEST, held_x * BRIGHTEST, time.perf_counter()
    network = load(there(options.model, "the model zoo's MNIST network (mnist-8)"))
    (output,) = network.outputs
    tk.replace_head(network, layers.Linear(len(KANA), name="characters"), classes=KANA)

    stages = {"head": (3e-3, 1 if options.quick else 3), "everything": (4e-3, 2 if options.quick else 12)}
    for stage, (rate, epochs) in stages.items():
        if stage == "head":
            network.select("*").freeze()
            network.select("characters").unfreeze()
        else:
            network.select("*").unfreeze()
        trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.AdamW(rate))
        trainer.fit((x, y), epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)
        accuracy = trainer.evaluate((held_x, held_y))["accuracy"]
        print(f"trained {stage}: accuracy {accuracy:.4f} after {time.perf_counter() - start:.0f} s")
    print("the first characters held out are taken for", *trainer.predict(held_x[:10]))

    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "characters.onnx"
    save(network, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # The file's batch is the exporter's: one.
    judged = np.concatenate([session.run([output], {session.get_inputs()[0].name: item[None]})[0] for item in held_x])
    require(
        f"accuracy of {path.name} in ONNX Runtime on {len(held_y)} characters held out",
        float(np.mean(judged.argmax(1) == held_y)),
        QUICK_BAR if options.quick else BAR,
    )
    distance = float(np.abs(network.run(held_x)[output] - judged).max())
    if distance > LARGEST_DISTANCE * np.abs(judged).max():
        raise SystemExit(f"Our scores and those of ONNX Runtime differ by {distance:.1e}.")


if __name__ == "__main__":
    main()
