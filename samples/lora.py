"""Teach a transformer a second trade with low-rank adapters: its own weights stay as they are.

The model is a network with self-attention that was trained on MNIST and exported by tf2onnx. An adapter beside each of
its layers learns characters of cursive Japanese. With the adapter it reads those, without it digits as before. What was
learnt is a small file, or goes into the weights of a copy, which ONNX Runtime judges.
"""

from __future__ import annotations

import time

import numpy as np
import onnxruntime

import toolkit as tk
from data_sets import command_line, kuzushiji, mnist, require, there
from exporters import save, save_adapter
from importers import load

RANK, QUICK_RANK = 16, 8
BAR, QUICK_BAR, DIGITS_BAR = 0.80, 0.4, 0.97


def main() -> None:
    """Adapt, switch the adapter off and on, save both forms, and let ONNX Runtime judge."""
    options = command_line("Adapt a transformer with LoRA.", model="selfattn_mnist").parse_args()
    training, held_out = (_last(part) for part in kuzushiji(options.data))
    digits = _last(mnist(options.data, "t10k"))
    network = load(there(options.model, "the self-attention network for MNIST"))
    start, (output,) = time.perf_counter(), network.outputs
    own = sum(item.array.size for item in network.parameters.values() if item.requires_grad)
    before = {name: item.array.copy() for name, item in network.parameters.items()}

    adapter = tk.adapters.lora(network, "*", rank=QUICK_RANK if options.quick else RANK, name="characters")
    learning = sum(item.array.size for item in adapter.parameters.values())
    print(f"{len(adapter.layers)} layers adapted: {learning} numbers learn beside {own} that stay")
    loss = tk.losses.SoftmaxCrossEntropy(output=output, probabilities=True)
    optimizer = tk.optimizers.chain(tk.optimizers.ClipByGlobalNorm(1.0), tk.optimizers.AdamW(1e-2))
    trainer = tk.Trainer(network, loss=loss, optimizer=optimizer)
    epochs = 3 if options.quick else 20
    trainer.fit(training, epochs=epochs, schedule=tk.schedules.one_cycle(), keep_best=False)
    print(f"{trainer.steps} steps in {time.perf_counter() - start:.0f} s")

    options.output.mkdir(parents=True, exist_ok=True)
    alone, whole = options.output / "characters.safetensors", options.output / "characters-merged.onnx"
    save_adapter(adapter, alone)
    save(tk.adapters.merged(network), whole)
    print(f"{alone.name} has {alone.stat().st_size} bytes, the model {options.model.stat().st_size}")

    tk.adapters.activate(network)
    if any(not np.array_equal(before[name], network.parameters[name].array) for name in before):
        raise SystemExit("Weights of the model itself have changed.")
    require("accuracy on MNIST without the adapter", trainer.evaluate(digits)["accuracy"], DIGITS_BAR)
    tk.adapters.activate(network, "characters")
    bar = QUICK_BAR if options.quick else BAR
    require("accuracy on held-out characters with it", trainer.evaluate(held_out)["accuracy"], bar)
    session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    (name,) = (item.name for item in session.get_inputs())
    answers = [session.run([output], {name: item[None]})[0].argmax() for item in held_out[0]]  # its batch is one
    require(f"accuracy of {whole.name} in ONNX Runtime", float(np.mean(answers == held_out[1])), bar)


def _last(data: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Images with their channels last, as TensorFlow has them."""
    return np.ascontiguousarray(data[0].transpose(0, 2, 3, 1)), data[1]


if __name__ == "__main__":
    main()
