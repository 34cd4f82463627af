"""The one list of operator families; importing it registers every record. A new family is one more line here."""

from importlib import import_module

FAMILIES: tuple[str, ...] = (
    "activation",
    "activation_operators",
    "arithmetic",
    "attention",
    "batch_normalization",
    "cast",
    "constant",
    "control_flow",
    "convolution",
    "convolution_gradient",
    "dropout",
    "elementwise",
    "global_pooling",
    "indexing",
    "joining",
    "layer_normalization",
    "linear",
    "logic",
    "loss",
    "movement",
    "normalization",
    "optimization",
    "optionals",
    "pooling",
    "pooling_gradient",
    "random_values",
    "ranking",
    "recurrent",
    "recurrent_gradient",
    "reduction",
    "resize",
    "reverse_sequence",
    "sequences",
    "signal",
    "slicing",
    "softmax",
    "transposed_convolution",
    "window_functions",
)

for _family in FAMILIES:
    import_module(f"toolkit.operators.{_family}")
