"""Cases of ``toolkit.operators.microsoft.quantized_recurrent``."""

from tests.cases.microsoft_quantization import DOMAIN
from tests.support.case import Case, constant, integers, uniform

HIDDEN, SIZE, STEPS = 3, 5, 4


def given(directions=1, *, kind="int8", per_column=False, lengths=None, begun=False, peepholes=False):
    """The twelve inputs for a hidden size of three."""
    low, high = (-64, 65) if kind == "int8" else (0, 256)
    zero_point = [2 if kind == "int8" else 130] * directions
    scale = [0.006 + 0.001 * number for number in range(directions)]
    if per_column:
        scale = [[value + 0.0001 * column for column in range(4 * HIDDEN)] for value in scale]
        zero_point = [[0] * 4 * HIDDEN] * directions  # the only one that onnxruntime takes
    weights = [integers(directions, rows, 4 * HIDDEN, low=low, high=high, dtype=kind, is_constant=True)
               for rows in (SIZE, HIDDEN)]  # fmt: skip
    state = uniform(directions, "N", HIDDEN) if begun else None
    return [uniform(STEPS, "N", SIZE), *weights, uniform(directions, 8 * HIDDEN), lengths, state, state,
            uniform(directions, 3 * HIDDEN) if peepholes else None,
            *[constant(scale), constant(zero_point, kind)] * 2]  # fmt: skip


def attributes(**rest):
    return {"hidden_size": HIDDEN, **rest}


CASES = [
    Case("DynamicQuantizeLSTM", given(), attributes(), **DOMAIN, outputs=3, tolerance=1e-4),
    Case("DynamicQuantizeLSTM", given(kind="uint8", begun=True), attributes(direction="reverse"), **DOMAIN, outputs=3,
         tolerance=1e-4, note="reverse with states"),
    Case("DynamicQuantizeLSTM", given(2, per_column=True), attributes(direction="bidirectional"), **DOMAIN, outputs=3,
         tolerance=1e-4, note="both directions per column"),
    Case("DynamicQuantizeLSTM", given(peepholes=True),
         attributes(clip=0.5, activations=["HardSigmoid", "Relu", "Tanh"]), **DOMAIN,
         outputs=3, tolerance=1e-4, note="peepholes and activations"),
    Case("DynamicQuantizeLSTM", given(lengths=constant(lambda n: [STEPS, 2, 3][:n], "int32")), attributes(), **DOMAIN,
         outputs=3, tolerance=2e-2, note="lengths"),
]  # fmt: skip
