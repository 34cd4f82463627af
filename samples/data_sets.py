"""What the samples share: the data sets as arrays, where they lie, and how a sample keeps its promise.

Nothing is downloaded. A sample is told a folder on its command line; by default it looks beside the repository. What is
not there ends the sample with one line that names it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import tarfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "assets"
KANA = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
SPEECH_RATE = 8000  # samples a second
TEST_TAKES = 5  # the first takes of each speaker and digit are for testing, as that data set has it
Labelled = tuple[np.ndarray, np.ndarray]


def command_line(description: str, *, model: str = "", data: bool = True) -> argparse.ArgumentParser:
    """Options that samples have in common; ``model`` is the folder of the model that the sample starts from."""
    parser = argparse.ArgumentParser(description=description)
    if data:
        parser.add_argument("--data", type=Path, default=ASSETS / "data", help="folder of the data sets")
    if model:
        default = ASSETS / "models" / model / "model.onnx"
        parser.add_argument("--model", type=Path, default=default, help=f"the model {model} as a file")
    parser.add_argument("--output", type=Path, default=Path("samples/output"), help="folder for what is written")
    parser.add_argument("--quick", action="store_true", help="less data, fewer epochs, a lower bar")
    return parser


def require(what: str, value: float, least: float) -> None:
    """Print a figure on held-out data; end with it as an error where it is below what the sample promises."""
    print(f"{what}: {value:.4f} (at least {least:g} is promised)")
    if not value >= least:
        raise SystemExit(f"{what}: {value:.4f}, below the {least:g} that this sample promises.")


def there(path: Path, what: str) -> Path:
    """``path`` itself, or the end of the sample in one line where nothing is there."""
    if not path.exists():
        raise SystemExit(f"This sample needs {what} at {path}. Name another place on the command line (--help).")
    return path


def mnist(folder: Path, part: str) -> Labelled:
    """MNIST's images (items, 1, 28, 28) as float32 in [0, 1] and digits; ``part`` is ``train`` or ``t10k``."""
    arrays = []
    for kind, start in (("images-idx3", 16), ("labels-idx1", 8)):
        path = there(folder / "mnist" / f"{part}-{kind}-ubyte.gz", "MNIST in its original files")
        arrays.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=start))
    images, labels = arrays
    return (images.reshape(-1, 1, 28, 28) / np.float32(255)), labels.astype(np.int64)


def kuzushiji(folder: Path) -> tuple[Labelled, Labelled]:
    """Kuzushiji-MNIST's test images as of ``mnist``, classes as of ``KANA``: 8,000 to train on, 2,000 held out."""
    arrays = [
        np.load(there(folder / "kmnist_test" / f"kmnist-test-{kind}.npz", "Kuzushiji-MNIST's test images"))["arr_0"]
        for kind in ("imgs", "labels")
    ]
    order = np.random.default_rng(0).permutation(len(arrays[1]))
    images, labels = arrays[0][order, None] / np.float32(255), arrays[1][order].astype(np.int64)
    return (images[:8000], labels[:8000]), (images[8000:], labels[8000:])


def spoken_digits(folder: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Recordings of the Free Spoken Digit data set at ``SPEECH_RATE``, each float32 (samples,) in [-1, 1].

    Also their digits, and whether each is for testing.
    """
    recordings, labels, is_test = [], [], []
    archive = there(folder / "fsdd_subset" / "fsdd_15.tar.gz", "recordings of the Free Spoken Digit data set")
    for name, content in _members(archive):
        digit, _, take = Path(name).stem.split("_")
        with wave.open(io.BytesIO(content)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (SPEECH_RATE, 1, 2):
                raise SystemExit(f"{name}: 16-bit mono at {SPEECH_RATE} Hz is required.")
            recordings.append(np.frombuffer(file.readframes(file.getnframes()), "<i2") / np.float32(32768))
        labels.append(int(digit))
        is_test.append(int(take) < TEST_TAKES)
    return recordings, np.array(labels), np.array(is_test)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as file:
        for member in sorted(file.getmembers(), key=lambda item: item.name):
            content = file.extractfile(member) if member.name.endswith(".wav") else None
            if content is not None:
                yield member.name, content.read()


def messages(folder: Path) -> tuple[list[str], np.ndarray]:
    """The SMS Spam Collection, each different text once, in order: texts, and 1 for spam."""
    path = there(folder / "sms_spam" / "SMSSpamCollection", "the SMS Spam Collection")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {text: kind for kind, text in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return list(rows), np.array([kind == "spam" for kind in rows.values()], np.int64)
