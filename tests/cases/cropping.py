"""Cases of ``toolkit.operators.standard.cropping``."""

from tests.support.case import Case, constant, integers, uniform

CASES = [
    Case("CenterCropPad", [uniform("N", 5, 4), constant(lambda n: [n, 3, 7])], version=18, note="both"),
    Case("CenterCropPad", [uniform("N", 5, 4), constant([2, 5])], {"axes": [-2, 2]}, version=18, note="axes"),
    Case("CenterCropPad", [uniform("N", 4), constant([7])], {"axes": [1]}, note="pad odd"),
    Case("CenterCropPad", [integers("N", 4, low=0, high=9), constant([1])], {"axes": [1]}, note="integers"),
]
