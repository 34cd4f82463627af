"""InvertedResidual: what widens an image, filters each of its channels, and narrows it again, as one operator.

A convolution with windows of one position, one with a window for each channel, another one of one position, and a
residual behind the last: the block of MobileNetV2 and its successors. The first may be missing. So a backend need not
write the wide images to memory.

Inputs are x, weight and bias of the three convolutions, and the residual; biases, the residual, and what belongs to the
first convolution may be left out. ``strides`` and ``pads`` are those of the middle one. ``activations`` names the
function behind each of the three, ``""`` for none, ``activation_alpha`` and ``activation_beta`` hold its numbers.
"""

from __future__ import annotations

from toolkit.operators.composed import argument, composed, required
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.record import Call
from toolkit.operators.standard.activation import expand_activation

INVERTED_RESIDUAL = "InvertedResidual"


def _expansion(call: Call) -> list[Expression | None]:
    numbers = ("activation_alpha", "activation_beta")

    def ended(y: Expression, index: int) -> Expression:
        given = {name: call.attributes[name][index] for name in numbers}
        return expand_activation({"activation": call.attributes["activations"][index], **given}, y)

    y, depthwise = call.x, required(call, 3, "the weight for each channel")
    widening = argument(call, 1)
    if widening is not None:
        y = ended(emit("Conv", y, widening, argument(call, 2)), 0)
    geometry = {name: call.attributes[name] for name in ("strides", "pads")}
    y = ended(emit("Conv", y, depthwise, argument(call, 4), group=depthwise.shape[0], **geometry), 1)
    y = emit("Conv", y, required(call, 5, "the last weight"), argument(call, 6))
    residual = argument(call, 7)
    return [ended(y if residual is None else y + residual, 2)]


composed(INVERTED_RESIDUAL, _expansion, domain=TOOLKIT_DOMAIN)
