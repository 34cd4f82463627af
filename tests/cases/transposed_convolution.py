"""Cases of ``toolkit.operators.standard.transposed_convolution``."""

from tests.support.case import Case, uniform

X, W, B = uniform("N", 4, 5, 4), uniform(4, 3, 3, 3), uniform(3)

CASES = [
    Case("ConvTranspose", [X, W, B], version=1),
    Case("ConvTranspose", [X, W], {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]}, note="padding"),
    Case("ConvTranspose", [X, W, B], {"strides": [2, 3], "auto_pad": "SAME_UPPER"}, version=11, note="same upper"),
    Case("ConvTranspose", [X, W, B], {"strides": [2, 3], "auto_pad": "SAME_LOWER"}, note="same lower"),
    Case("ConvTranspose", [X, W, B], {"strides": [2, 2], "output_shape": [10, 9]}, note="output shape"),
    Case("ConvTranspose", [X, W, uniform(6)], {"group": 2, "dilations": [2, 1]}, note="groups"),
    Case(
        "ConvTranspose", [uniform("N", 2, 5), uniform(2, 3, 3)], {"strides": [2], "auto_pad": "VALID"}, note="one axis"
    ),
    Case(
        "ConvTranspose",
        [uniform("N", 2, 3, 3, 2), uniform(2, 1, 2, 2, 2), uniform(1)],
        {"strides": [1, 2, 1]},
        note="three axes",
    ),
]
