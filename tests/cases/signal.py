"""Cases of ``toolkit.operators.standard.signal``."""

from tests.support.case import Case, constant, uniform

REAL, COMPLEX = uniform("N", 6, 5, 1), uniform("N", 6, 5, 2)


def case(inputs: list, version: int = 20, note: str = "", **attributes: int) -> Case:
    """A DFT with whatever is said about it."""
    judge = "onnx.reference" if attributes.get("inverse") and attributes.get("onesided") else None
    return Case("DFT", inputs, attributes, version=version, note=note, tolerance=2e-5, judge=judge)


CASES = [
    case([REAL], 17),
    case([COMPLEX], 17, "complex", axis=2),
    case([COMPLEX], 17, "from the back", axis=-3, inverse=1),
    case([REAL], 17, "one-sided", axis=1, onesided=1),
    case([COMPLEX], 17, "one-sided inverse", axis=1, onesided=1, inverse=1),
    case([REAL]),
    case([REAL, None, constant(0)], note="across the batch"),
    case([COMPLEX, None, constant(1)], note="axis"),
    case([COMPLEX, constant(8), constant(1)], note="padded"),
    case([REAL, constant(4, "int32"), constant(1)], note="cut"),
    case([COMPLEX, constant(7), constant(1)], note="inverse padded", inverse=1),
    case([COMPLEX, constant(4), constant(-3)], note="inverse cut", inverse=1),
    case([REAL], note="inverse of real", inverse=1),
    case([REAL, None, constant(1)], note="one-sided even", onesided=1),
    case([REAL, constant(9), constant(1)], note="one-sided padded", onesided=1),
    case([REAL, constant(5), constant(1)], note="one-sided cut", onesided=1),
    case([COMPLEX, None, constant(1)], note="one-sided inverse", onesided=1, inverse=1),
    case([COMPLEX, constant(9), constant(1)], note="one-sided inverse odd", onesided=1, inverse=1),
    case([COMPLEX, constant(6), constant(1)], note="one-sided inverse cut", onesided=1, inverse=1),
    case([COMPLEX, constant(16), constant(1)], note="one-sided inverse padded", onesided=1, inverse=1),
    Case(
        "DFT",
        [uniform("N", 6, 1, dtype="float16")],
        judge="onnx.reference",
        tolerance=2e-2,
        gradient_tolerance=1e-4,
        note="half",
    ),
    Case("STFT", [uniform("N", 16, 1), constant(4), uniform(6)], version=17, tolerance=2e-5),
    Case("STFT", [uniform("N", 16, 1), constant(3), None, constant(5)], version=17, tolerance=2e-5, note="no window"),
    Case("STFT", [uniform("N", 16, 1), constant(5), uniform(8), constant(8)], version=17, tolerance=2e-5, note="both"),
    Case(
        "STFT", [uniform("N", 9, 1), constant(1)], version=17, judge="onnx.reference", tolerance=2e-5, note="one frame"
    ),
    Case(
        "STFT", [uniform("N", 16, 1), constant(4), uniform(6)], {"onesided": 0}, version=17, tolerance=2e-5, note="full"
    ),
    Case(
        "STFT",
        [uniform("N", 16, 2), constant(4), uniform(6)],
        {"onesided": 0},
        version=17,
        tolerance=2e-5,
        note="complex",
    ),
]
