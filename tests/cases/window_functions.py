"""Cases of ``toolkit.operators.standard.window_functions``."""

from onnx import TensorProto

from tests.support.case import Case, constant, variable

WINDOWS = ("HannWindow", "HammingWindow", "BlackmanWindow")
BANDS = [constant(8), constant(64), constant(8192), constant(0.0), constant(4000.0)]

CASES = [
    *[Case(name, [constant(10)], version=17, tolerance=1e-6) for name in WINDOWS],
    *[Case(name, [constant(9, "int32")], {"periodic": 0}, version=17, note="symmetric") for name in WINDOWS],
    *[
        Case(name, [constant(7)], {"output_datatype": TensorProto.DOUBLE}, version=17, tolerance=2e-6, note="double")
        for name in WINDOWS
    ],
    Case("HannWindow", [variable(5)], version=17, is_data_dependent=True, note="length unknown"),
    Case("MelWeightMatrix", BANDS, version=17),
    Case("MelWeightMatrix", BANDS, {"output_datatype": TensorProto.DOUBLE}, version=17, note="double"),
    Case(
        "MelWeightMatrix",
        [constant(20, "int32"), constant(33, "int32"), constant(16000, "int32"), constant(125.0), constant(7600.0)],
        version=17,
        note="bands narrower than bins",
    ),
]
