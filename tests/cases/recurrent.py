"""Cases of ``toolkit.operators.standard.recurrent`` and its gradients.

onnxruntime judges what it has: float32 since opset 7 in the layout 0, with the hidden size given; it takes 0 for the
default alpha of Affine, ScaledTanh and ThresholdedRelu, where ONNX has 1. For the rest, and for gradients, there is
``simple_loop``, which takes one sequence after the other, in one direction after the other, as the equations say it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.support.case import Case, Given, Size, constant, uniform

STEPS, WIDTH, HIDDEN = 4, 3, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ROLES = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
FUNCTIONS: dict[str, tuple[Callable[..., Any], float | None, float | None]] = {
    "Relu": (lambda v, a, b: max(v, 0.0), None, None),
    "Tanh": (lambda v, a, b: np.tanh(v), None, None),
    "Sigmoid": (lambda v, a, b: 1 / (1 + np.exp(-v)), None, None),
    "Affine": (lambda v, a, b: a * v + b, 1.0, 0.0),
    "LeakyRelu": (lambda v, a, b: v if v >= 0 else a * v, 0.01, None),
    "ThresholdedRelu": (lambda v, a, b: v if v >= a else 0.0, 1.0, None),
    "ScaledTanh": (lambda v, a, b: a * np.tanh(b * v), 1.0, 1.0),
    "HardSigmoid": (lambda v, a, b: min(max(a * v + b, 0.0), 1.0), 0.2, 0.5),
    "Elu": (lambda v, a, b: v if v >= 0 else a * (np.exp(v) - 1), 1.0, None),
    "Softsign": (lambda v, a, b: v / (1 + abs(v)), None, None),
    "Softplus": (lambda v, a, b: np.log(1 + np.exp(v)), None, None),
}


def activations_of(name: str, directions: int, attributes: dict[str, Any]) -> list[Callable[[Any], Any]]:
    """The activations of all directions, each with the next alpha and beta if it takes one, and the clip before it."""
    alphas, betas = list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))
    found: list[Callable[[Any], Any]] = []
    for number, title in enumerate(attributes.get("activations", ROLES[name] * directions)):
        bound = np.inf if number % len(ROLES[name]) == 2 else attributes.get("clip", np.inf)  # not the cell of LSTM
        function, alpha, beta = FUNCTIONS[title]
        a = alphas.pop(0) if alpha is not None and alphas else alpha
        b = betas.pop(0) if beta is not None and betas else beta
        found.append(
            np.vectorize(
                lambda v, f=function, a=a, b=b, bound=bound: f(min(max(v, -bound), bound), a, b), otypes=[np.float64]
            )
        )
    return found


def one_step(
    name: str, x: Any, h: Any, c: Any, parts: list[Any], p: Any, act: Any, attributes: dict[str, Any]
) -> tuple[Any, Any]:
    """(h, c) after one step of one sequence; ``parts`` are W, R and the two halves of B, each a list by gate."""
    w, r, wb, rb = parts
    if name == "RNN":
        return act[0](w[0] @ x + r[0] @ h + wb[0] + rb[0]), c
    if name == "GRU":
        f, g = act
        update = f(w[0] @ x + r[0] @ h + wb[0] + rb[0])
        reset = f(w[1] @ x + r[1] @ h + wb[1] + rb[1])
        if attributes.get("linear_before_reset", 0):
            new = g(w[2] @ x + reset * (r[2] @ h + rb[2]) + wb[2])
        else:
            new = g(w[2] @ x + r[2] @ (reset * h) + rb[2] + wb[2])
        return (1 - update) * new + update * h, c
    f, g, last = act
    admit = f(w[0] @ x + r[0] @ h + p[0] * c + wb[0] + rb[0])
    forget = f(w[2] @ x + r[2] @ h + p[2] * c + wb[2] + rb[2])
    if attributes.get("input_forget", 0):
        forget = 1 - admit
    cell = forget * c + admit * g(w[3] @ x + r[3] @ h + wb[3] + rb[3])
    return f(w[1] @ x + r[1] @ h + p[1] * cell + wb[1] + rb[1]) * last(cell), cell


def simple_loop(name: str, *inputs: Any, **attributes: Any) -> tuple[np.ndarray, ...]:
    """The outputs in float64."""
    x, w, r, b, lengths, h0, c0, p = (list(inputs) + [None] * 8)[:8]
    layout, directions = attributes.get("layout", 0), len(w)
    time_first = (lambda v: v.swapaxes(0, 1)) if layout else (lambda v: v)
    x = time_first(np.asarray(x, np.float64))
    steps, batch, hidden, gates = x.shape[0], x.shape[1], r.shape[2], GATES[name]
    zeros = np.zeros((directions, batch, hidden))
    h_all = (zeros if h0 is None else time_first(np.asarray(h0, np.float64))).copy()
    c_all = (zeros if c0 is None else time_first(np.asarray(c0, np.float64))).copy()
    y, chosen = np.zeros((steps, directions, batch, hidden)), activations_of(name, directions, attributes)
    count = len(ROLES[name])
    for d in range(directions):
        biases = np.zeros(2 * gates * hidden) if b is None else b[d].astype(np.float64)
        parts = [np.split(v.astype(np.float64), gates) for v in (w[d], r[d], *np.split(biases, 2))]
        peepholes = [0.0] * 3 if p is None else np.split(p[d].astype(np.float64), 3)
        is_reverse = attributes.get("direction") == "reverse" or d == 1
        for n in range(batch):
            order = range(steps if lengths is None else lengths[n])
            for t in reversed(order) if is_reverse else order:
                act = chosen[d * count : (d + 1) * count]
                h, c = one_step(name, x[t, n], h_all[d, n], c_all[d, n], parts, peepholes, act, attributes)
                y[t, d, n], h_all[d, n], c_all[d, n] = h, h, c
    states = [time_first(h_all), time_first(c_all)][: 2 if name == "LSTM" else 1]
    return (y.transpose(2, 0, 1, 3) if layout else y, *states)


def by_loop(name: str) -> Callable[..., tuple[np.ndarray, ...]]:
    """A judge of an operator's outputs, in the element type of the first input."""

    def judge(*inputs: Any, **attributes: Any) -> tuple[np.ndarray, ...]:
        return tuple(item.astype(inputs[0].dtype) for item in simple_loop(name, *inputs, **attributes))

    return judge


def by_differences(name: str) -> Callable[..., tuple[np.ndarray, ...]]:
    """A judge of an operator's gradients: every element moved up and down."""
    count = 8 if name == "LSTM" else 6

    def judge(*inputs: Any, wrt: list[int], **attributes: Any) -> tuple[np.ndarray, ...]:
        seeds = inputs[count:]

        def projected(index: int, place: tuple[int, ...], step: float) -> float:
            moved = [None if item is None else item.astype(np.float64) for item in inputs[:count]]
            moved[4] = inputs[4]
            moved[index][place] += step
            outputs = simple_loop(name, *moved, **attributes)
            return sum(float((g * y).sum()) for g, y in zip(seeds, outputs, strict=True) if g is not None)

        found = []
        for index in wrt:
            grad = np.empty(inputs[index].shape, inputs[index].dtype)
            for place in np.ndindex(grad.shape):
                grad[place] = (projected(index, place, 1e-6) - projected(index, place, -1e-6)) / 2e-6
            found.append(grad)
        return tuple(found)

    return judge


def lengths(*content: int) -> Given:
    """sequence_lens; the batch takes as many as it has sequences."""
    return constant(lambda n: np.asarray(content[:n], np.int32))


def given(
    name: str,
    directions: int = 1,
    *,
    bias: bool = True,
    sequence_lens: Given | None = None,
    initial: bool = True,
    peepholes: bool = False,
    layout: int = 0,
    dtype: str = "float32",
    steps: int = STEPS,
) -> list[Given | None]:
    """The inputs of a node; trailing ones that are absent are not listed."""
    gates = GATES[name] * HIDDEN

    def drawn(*shape: Any) -> Given:
        return uniform(*shape, low=-1.0, high=1.0, dtype=dtype)

    state = drawn("N", directions, HIDDEN) if layout else drawn(directions, "N", HIDDEN)
    found: list[Given | None] = [
        drawn("N", steps, WIDTH) if layout else drawn(steps, "N", WIDTH),
        drawn(directions, gates, WIDTH),
        drawn(directions, gates, HIDDEN),
        drawn(directions, 2 * gates) if bias else None,
        sequence_lens,
        state if initial else None,
    ]
    if name == "LSTM":
        found += [state if initial else None, drawn(directions, 3 * HIDDEN) if peepholes else None]
    while found[-1] is None:
        found.pop()
    return found


def case(
    name: str,
    note: str = "",
    *,
    version: int = 14,
    loop: bool = False,
    outputs: int | None = None,
    tolerance: float = 1e-5,
    attributes: dict[str, Any] | None = None,
    **inputs: Any,
) -> Case:
    """A row whose weights fit its direction and layout."""
    settings = {"hidden_size": HIDDEN, **(attributes or {})}
    directions = 2 if settings.get("direction") == "bidirectional" else 1
    return Case(
        name,
        given(name, directions, layout=settings.get("layout", 0), **inputs),
        {key: value for key, value in settings.items() if value is not None},
        version=version,
        outputs=outputs or (3 if name == "LSTM" else 2),
        tolerance=tolerance,
        judge=by_loop(name) if loop else "onnxruntime",
        note=note,
    )


def gradient_case(name: str, directions: int, wrt: list[int], seeds: str, **attributes: Any) -> Case:
    """A row of the fused gradient; ``seeds`` has a 1 for every output that a gradient came to."""
    layout = attributes.get("layout", 0)
    inputs = given(name, directions, sequence_lens=lengths(3, 4, 2), peepholes=True, layout=layout, dtype="float64")
    y: list[Size] = ["N", STEPS, directions, HIDDEN] if layout else [STEPS, directions, "N", HIDDEN]
    state: list[Size] = ["N", directions, HIDDEN] if layout else [directions, "N", HIDDEN]
    shapes = [y, *[state] * (len(seeds) - 1)]
    grads = [
        uniform(*shape, dtype="float64") if seed == "1" else None for shape, seed in zip(shapes, seeds, strict=True)
    ]
    return Case(
        f"{name}Gradient",
        [*inputs, *grads],
        {"wrt": wrt, **attributes},
        version=1,
        domain="toolkit",
        outputs=len(wrt),
        judge=by_differences(name),
        note=f"to {seeds}",
    )


CASES: list[Case] = []
for _name in ("RNN", "GRU", "LSTM"):
    _bidirectional = {"direction": "bidirectional"}
    CASES += [
        case(_name, "first", version=1, loop=True, attributes={"output_sequence": 1}),
        case(_name, "third", version=3, loop=True, attributes=_bidirectional),
        case(_name, "forward", version=7, attributes={"direction": "forward"}),
        case(_name, "reverse", version=14, attributes={"direction": "reverse"}),
        case(_name, "bidirectional", version=22, attributes=_bidirectional),
        case(
            _name, "weights alone", version=22, loop=True, bias=False, initial=False, attributes={"hidden_size": None}
        ),
        case(_name, "sequence alone", version=14, outputs=1),
        case(_name, "one step", version=14, steps=1),
        case(_name, "lengths", version=14, sequence_lens=lengths(2, 4, 1)),
        case(
            _name, "lengths reversed", version=14, sequence_lens=lengths(2, 4, 1), attributes={"direction": "reverse"}
        ),
        case(_name, "lengths both ways", version=14, sequence_lens=lengths(3, 1, 4), attributes=_bidirectional),
        case(_name, "full lengths", version=14, sequence_lens=lengths(4, 4, 4), attributes=_bidirectional),
        case(_name, "empty sequence", loop=True, sequence_lens=lengths(0, 4, 2), attributes=_bidirectional),
        case(_name, "clip", attributes={"clip": 0.4, **_bidirectional}),
        case(_name, "batch first", loop=True, attributes={"layout": 1}),
        case(
            _name,
            "batch first both ways",
            version=22,
            loop=True,
            sequence_lens=lengths(3, 1, 4),
            attributes={"layout": 1, **_bidirectional},
        ),
        case(_name, "double", loop=True, dtype="float64", attributes={"direction": "reverse"}),
        case(_name, "half", loop=True, dtype="float16", tolerance=2e-3),
        case(_name, "bfloat16", version=22, loop=True, dtype="bfloat16", tolerance=2e-2, attributes=_bidirectional),
        case(
            _name,
            "different activations",
            attributes={
                "activations": ["Sigmoid", "Relu", "Elu"][: len(ROLES[_name])] + ROLES[_name],
                **_bidirectional,
            },
        ),
    ]

CASES += [
    case("GRU", "linear", version=3, loop=True, attributes={"linear_before_reset": 1}),
    case("GRU", "linear forward", version=7, attributes={"linear_before_reset": 1}),
    case("GRU", "linear both ways", version=22, attributes={"linear_before_reset": 1, "direction": "bidirectional"}),
    case("GRU", "linear without bias", bias=False, attributes={"linear_before_reset": 1}),
    case(
        "GRU",
        "linear lengths",
        sequence_lens=lengths(2, 4, 3),
        attributes={"linear_before_reset": 1, "direction": "bidirectional", "clip": 0.6},
    ),
    case("GRU", "linear batch first", loop=True, attributes={"linear_before_reset": 1, "layout": 1}),
    case("LSTM", "peepholes", version=7, peepholes=True),
    case("LSTM", "peepholes both ways", version=22, peepholes=True, attributes={"direction": "bidirectional"}),
    case(
        "LSTM",
        "peepholes lengths",
        peepholes=True,
        sequence_lens=lengths(2, 4, 3),
        attributes={"direction": "bidirectional", "clip": 0.5},
    ),
    case("LSTM", "peepholes batch first", loop=True, peepholes=True, attributes={"layout": 1}),
    case("LSTM", "coupled", version=7, attributes={"input_forget": 1}),
    case("LSTM", "coupled peepholes", peepholes=True, attributes={"input_forget": 1, "direction": "bidirectional"}),
]

_SETTINGS: dict[str, dict[str, Any]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Affine": {"activation_alpha": [0.7], "activation_beta": [0.1]},
    "LeakyRelu": {"activation_alpha": [0.3]},
    "ThresholdedRelu": {"activation_alpha": [0.25]},
    "ScaledTanh": {"activation_alpha": [0.8], "activation_beta": [1.3]},
    "HardSigmoid": {"activation_alpha": [0.6], "activation_beta": [0.4]},
    "Elu": {"activation_alpha": [0.6]},
    "Softsign": {},
    "Softplus": {},
}
for _title, _numbers in _SETTINGS.items():
    CASES.append(case("RNN", f"{_title}", attributes={"activations": [_title], **_numbers}))
    if _numbers:
        is_read_differently = _title in ("Affine", "ScaledTanh", "ThresholdedRelu")
        CASES.append(
            case("RNN", f"{_title} by default", loop=is_read_differently, attributes={"activations": [_title]})
        )
CASES += [
    case(
        "GRU",
        "numbers in the order of takers",
        attributes={
            "activations": ["HardSigmoid", "LeakyRelu"],
            "activation_alpha": [0.3, 0.2],
            "activation_beta": [0.4],
        },
    ),
    case(
        "LSTM",
        "numbers skip those without",
        attributes={
            "activations": ["Sigmoid", "Elu", "Softsign", "HardSigmoid", "Tanh", "LeakyRelu"],
            "activation_alpha": [0.7, 0.3, 0.1],
            "activation_beta": [0.45],
            "direction": "bidirectional",
        },
    ),
    case(
        "LSTM",
        "peepholes smooth",
        peepholes=True,
        attributes={
            "activations": ["Softsign", "Softplus", "ScaledTanh"],
            "activation_alpha": [0.9],
            "activation_beta": [1.1],
        },
    ),
    gradient_case("RNN", 2, [0, 1, 2, 3, 5], "11", direction="bidirectional"),
    gradient_case("RNN", 1, [1], "01", clip=0.5, activations=["LeakyRelu"], activation_alpha=[0.2]),
    gradient_case("GRU", 2, [0, 1, 2, 3, 5], "11", direction="bidirectional", layout=1),
    gradient_case("GRU", 1, [5, 2, 3], "10", linear_before_reset=1, direction="reverse"),
    gradient_case("LSTM", 2, [0, 1, 2, 3, 5, 6, 7], "111", direction="bidirectional"),
    gradient_case("LSTM", 1, [7, 6], "001", input_forget=1, layout=1),
]


Lengths = tuple[int, ...]  # of sequences; the batch takes as many as it has, all of X's steps where there are none


def settings_of(own: Lengths, **settings: Any) -> dict[str, Any] | Callable[[int], dict[str, Any]]:
    """Attributes, with the lengths of the batch."""
    return (lambda batch: {**settings, "lengths": list(own[:batch])}) if own else settings


def layer_case(
    kind: str, gates: int, direction: str = "forward", *, bias: bool = True, initial: bool = True, own: Lengths = ()
) -> Case:
    """A row of ``Recurrent``, judged by the loop behind the weights turned back."""
    directions, biases = 2 if direction == "bidirectional" else 1, gates + (kind == "LinearGRU")
    state = uniform(directions, "N", HIDDEN)
    count = 2 if kind == "LSTM" else 1
    inputs: list[Given | None] = [
        uniform(STEPS, "N", WIDTH, low=-1.0, high=1.0),
        uniform(directions, WIDTH, gates, HIDDEN, low=-1.0, high=1.0),
        uniform(directions, HIDDEN, gates, HIDDEN, low=-1.0, high=1.0),
        uniform(directions, biases, HIDDEN) if bias else None,
        *([state] * count if initial else []),
    ]
    while inputs[-1] is None:
        inputs.pop()
    note = f"{kind} {direction}{'' if bias else ' unbiased'}{'' if initial else ' from zero'}{' lengths' * bool(own)}"
    return Case(
        "Recurrent",
        inputs,
        settings_of(own, kind=kind, direction=direction),
        version=1,
        domain="toolkit",
        outputs=1 + count,
        judge=by_turned_loop,
        note=note,
    )


def by_turned_loop(
    x: Any, w: Any, r: Any, b: Any = None, *states: Any, kind: str, direction: str, lengths: Any = None
) -> Any:
    """The loop on weights in ONNX's form."""
    order = [0, 3, 1, 2] if kind == "LSTM" else list(range(w.shape[2]))
    turned = [v.transpose(0, 2, 3, 1)[:, order].reshape(len(v), -1, v.shape[1]) for v in (w, r)]
    if b is not None:
        beside = np.zeros_like(b[:, : len(order)])
        if kind == "LinearGRU":
            beside[:, 2] = b[:, 3]
        b = np.concatenate([b[:, order], beside], axis=1).reshape(len(b), -1)
    settings: dict[str, Any] = {"direction": direction}
    if kind == "Relu":
        settings["activations"] = ["Relu"] * len(w)
    if kind == "LinearGRU":
        settings["linear_before_reset"] = 1
    name = {"LSTM": "LSTM", "GRU": "GRU", "LinearGRU": "GRU"}.get(kind, "RNN")
    y, *last = by_loop(name)(x, *turned, b, lengths, *states, **settings)
    return y.transpose(0, 2, 1, 3).reshape(*y.shape[:1], y.shape[2], -1), *last


def by_differences_of_turned(*inputs: Any, kind: str, wrt: list[int], **settings: Any) -> tuple[np.ndarray, ...]:
    """The gradients of ``Recurrent``: every element moved up and down. Of the outputs only their gradients count."""
    count = 2 if kind == "LSTM" else 1
    seeds = inputs[6 + count + 2 :]

    def projected(index: int, place: tuple[int, ...], step: float) -> float:
        moved = [None if item is None else item.copy() for item in inputs[:6]]
        moved[index][place] += step
        outputs = by_turned_loop(*moved[: 4 + count], kind=kind, **settings)
        return sum(float((g * y).sum()) for g, y in zip(seeds, outputs, strict=True))

    found = [np.empty_like(inputs[index]) for index in wrt]
    for index, grad in zip(wrt, found, strict=True):
        for place in np.ndindex(grad.shape):
            grad[place] = (projected(index, place, 1e-6) - projected(index, place, -1e-6)) / 2e-6
    return tuple(found)


def layer_gradient_case(kind: str, gates: int, direction: str, wrt: list[int], *, own: Lengths = ()) -> Case:
    """A row of ``RecurrentGradient`` that kept nothing; oneDNN's own kernel has a test with what was kept."""
    directions, biases = 2 if direction == "bidirectional" else 1, gates + (kind == "LinearGRU")
    count = 2 if kind == "LSTM" else 1

    def drawn(*shape: Size) -> Given:
        return uniform(*shape, low=-1.0, high=1.0, dtype="float64")

    state, sequence = drawn(directions, "N", HIDDEN), drawn(STEPS, "N", directions * HIDDEN)
    weights = [drawn(directions, size, gates, HIDDEN) for size in (WIDTH, HIDDEN)]
    inputs = [drawn(STEPS, "N", WIDTH), *weights, drawn(directions, biases, HIDDEN), *[state] * count]
    inputs += [None] * (6 - len(inputs))
    outputs = [sequence, *[state] * count]
    return Case(
        "RecurrentGradient",
        [*inputs, *outputs, None, *outputs],
        settings_of(own, kind=kind, direction=direction, wrt=wrt),
        version=1,
        domain="toolkit",
        outputs=len(wrt),
        judge=by_differences_of_turned,
        note=f"{kind} {direction}{' lengths' * bool(own)}",
    )


CASES += [
    layer_case("LSTM", 4),
    layer_case("LSTM", 4, "reverse", bias=False),
    layer_case("LSTM", 4, "bidirectional", initial=False),
    layer_case("GRU", 3),
    layer_case("GRU", 3, "bidirectional", initial=False),
    layer_case("LinearGRU", 3, "bidirectional"),
    layer_case("LinearGRU", 3, "reverse", bias=False, initial=False),
    layer_case("Tanh", 1, "bidirectional"),
    layer_case("Relu", 1, "reverse"),
    layer_case("LSTM", 4, "bidirectional", own=(2, 4, 1)),
    layer_case("GRU", 3, "reverse", own=(3, 0, 4)),
    layer_gradient_case("LSTM", 4, "bidirectional", [0, 1, 2, 3, 4, 5]),
    layer_gradient_case("GRU", 3, "reverse", [1, 3]),
    layer_gradient_case("LinearGRU", 3, "forward", [2, 3, 4]),
    layer_gradient_case("Relu", 1, "forward", [0, 2]),
    layer_gradient_case("LinearGRU", 3, "bidirectional", [0, 2, 3], own=(2, 4, 1)),
]
