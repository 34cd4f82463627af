"""A training run that is killed at random moments, and goes on, until it is through: ``killed.py FOLDER KILLS SEED``.

The processes are forked from one that never computes, so that each is there at once. FOLDER gets ``final``, a
checkpoint of where the run ended, ``log.jsonl``, and ``kills.json``: after how many updates each process was killed.
With no kills it is an unbroken run.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import toolkit as tk
from tests.training.small import clusters
from toolkit.training import load_checkpoint


def train(folder: Path) -> None:
    body = [tk.layers.Linear(24), tk.layers.BatchNormalization(), tk.layers.ReLU(), tk.layers.Dropout(0.2)]
    network = tk.layers.Sequential([*body, tk.layers.Linear(3)]).network((6,), input_name="x", output_name="y")
    optimizer = tk.optimizers.chain(
        tk.optimizers.ClipByGlobalNorm(1.0), tk.optimizers.AdamW(0.01), tk.optimizers.ExponentialAverage(0.9)
    )
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=optimizer, threads=1, seed=5)
    history = trainer.fit(
        clusters(190),
        epochs=12,
        validation=clusters(40, seed=1),
        batch_size=8,
        metrics={"accuracy": tk.metrics.accuracy, "f1": tk.metrics.F1()},
        schedule=tk.schedules.cosine(),
        callbacks=[tk.callbacks.JsonLines(folder / "log.jsonl", every=5)],
        checkpoint=folder / "run",
        checkpoint_every=1,
        resume=True,
    )
    final = trainer.checkpoint()
    final.run = {"epochs": [[epoch.training, epoch.validation] for epoch in history], "best": history.best_epoch}
    tk.training.save_checkpoint(folder / "final", final)


def begun(folder: Path) -> int:
    """Start a process that trains, and return its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(folder)
            status = 0
        finally:
            os._exit(status)
    return child


def main(folder: Path, kills: int, seed: int) -> None:
    moments, steps, longest = random.Random(seed), list[int](), 0.2
    while len(steps) < kills:
        child, before = begun(folder), steps[-1] if steps else 0
        time.sleep(moments.uniform(0.0, longest))
        os.kill(child, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            break
        steps.append(load_checkpoint(folder / "run").progress["steps"] if (folder / "run").exists() else 0)
        if steps[-1] == before:
            longest *= 1.2  # a machine that is busy: give the next one more time to come to its first step
        elif steps[-1] > before + 8:
            longest *= 0.8  # at 14 updates for each of twenty kills the run would be through before the last of them
    (folder / "kills.json").write_text(json.dumps(steps))
    if os.waitpid(begun(folder), 0)[1]:
        raise SystemExit("the run failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
