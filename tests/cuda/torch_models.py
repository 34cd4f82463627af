"""ResNet-50, BERT-base and an LSTM as PyTorch has them, and their ONNX files; loaded by PyTorch's interpreter alone.

Nothing of the toolkit is imported here, nor anything but PyTorch (and onnx, which its exporter needs).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPSET = 17
WORDS, LENGTH = 30522, 128


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        made = 4 * width
        self.path = nn.Sequential(
            *(nn.Conv2d(given, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, made, 1, bias=False), nn.BatchNorm2d(made)),
        )
        is_same = given == made and stride == 1
        shortcut = (nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))
        self.shortcut = nn.Identity() if is_same else nn.Sequential(*shortcut)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.path(x) + self.shortcut(x))


def resnet50(classes: int = 1000) -> nn.Module:
    """The network of He et al. (2015), table 1, 50 layers; the stride is in the convolution of size 3."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    given = 64
    for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(depth):
            layers.append(Bottleneck(given, width, stride if index == 0 else 1))
            given = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, classes))


class EncoderLayer(nn.Module):
    """Attention and a network of two layers, each with dropout, a sum with what went in, and a normalisation."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(0.1)
        self.query, self.key, self.value, self.mixed = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow, self.activation = nn.Linear(width, inner), nn.Linear(inner, width), nn.GELU()
        self.first, self.second = (nn.LayerNorm(width, 1e-12) for _ in range(2))

    def forward(self, x: Any, mask: Any) -> Any:
        batch, length, width = x.shape
        parts = (
            layer(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask)
        seen = self.mixed(seen.transpose(1, 2).reshape(batch, length, width))
        x = self.first(x + self.dropout(seen))
        return self.second(x + self.dropout(self.narrow(self.activation(self.wide(x)))))


class Bert(nn.Module):
    """The encoder of Devlin et al. (2018) with a classifier on its first token."""

    def __init__(self, depth: int = 12, width: int = 768, heads: int = 12, inner: int = 3072, classes: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(512, width)
        self.norm, self.dropout = nn.LayerNorm(width, 1e-12), nn.Dropout(0.1)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, inner) for _ in range(depth))
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, ids: Any, mask: Any) -> Any:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.dropout(self.norm(self.words(ids) + self.places(places)))
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :].bool())
        return self.head(self.dropout(torch.tanh(self.pool(x[:, 0]))))


class Recurrent(nn.Module):
    """Two layers of LSTM, and a classifier on the last step."""

    def __init__(self, width: int = 64, units: int = 256, classes: int = 10) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(width, units, 2, batch_first=True), nn.Linear(units, classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x)[0][:, -1])


def _images(batch: int) -> dict[str, Any]:
    return {"image": torch.randn(batch, 3, 224, 224)}


def _texts(batch: int) -> dict[str, Any]:
    ids = torch.randint(0, WORDS, (batch, LENGTH))
    return {"ids": ids, "mask": torch.ones(batch, LENGTH, dtype=torch.int64)}


def _series(batch: int) -> dict[str, Any]:
    return {"series": torch.randn(batch, 50, 64)}


def _tiny() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], dict[str, Any]]]] = {
    "resnet50": (resnet50, _images),
    "bert_base": (Bert, _texts),
    "lstm": (Recurrent, _series),
    "tiny": (_tiny, lambda batch: {"x": torch.randn(batch, 8)}),
}


def made(name: str) -> nn.Module:
    """A model with the weights that everybody gets."""
    torch.manual_seed(0)
    return MODELS[name][0]()


def example(name: str, batch: int) -> dict[str, Any]:
    """Inputs by name, always the same for a batch size."""
    torch.manual_seed(1)
    return MODELS[name][1](batch)


def _recurrent_operations(model: nn.Module) -> float:
    """Those of a step through all LSTM layers, which PyTorch's counter passes over: four gates from input and state."""
    total = 0.0
    for part in model.modules():
        if isinstance(part, nn.LSTM):
            given = [part.input_size, *[part.hidden_size] * (part.num_layers - 1)]
            total += sum(2 * 4 * part.hidden_size * (size + part.hidden_size) for size in given)
    return total


def export(name: str, folder: Path) -> dict[str, Any]:
    """Write NAME.onnx and NAME_train.onnx; returns what a floor of their time is reckoned from.

    ``parameters`` are counted in elements, operations as multiplications and additions for one item, of a forward pass
    and of a training step.
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = made(name)
    inputs = example(name, 2)
    axes = {key: {0: "batch"} for key in [*inputs, "scores"]}
    options: dict[str, Any] = {
        "dynamo": False,
        "opset_version": OPSET,
        "dynamic_axes": axes,
        "input_names": list(inputs),
        "output_names": ["scores"],
    }
    values = tuple(inputs.values())
    torch.onnx.export(model.eval(), values, str(folder / f"{name}.onnx"), **options)
    how = {"training": torch.onnx.TrainingMode.TRAINING, "do_constant_folding": False}
    torch.onnx.export(model.train(), values, str(folder / f"{name}_train.onnx"), **options, **how)
    operations = []
    for is_training in (False, True):
        with FlopCounterMode(display=False) as counter:
            scores = model(*values)
            if is_training:
                scores.sum().backward()
        steps = next(iter(inputs.values())).shape[1]
        passes = 3 if is_training else 1  # the way back computes two products for each of the way there
        operations.append(counter.get_total_flops() / 2 + passes * steps * _recurrent_operations(model))
    count = sum(item.numel() for item in model.parameters())
    return {"parameters": count, "forward operations": operations[0], "training operations": operations[1]}
