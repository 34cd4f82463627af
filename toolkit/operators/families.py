"""The one list of operator families, whose modules register their records. A new family is one more line here.

Those of ``FAMILIES`` are there from the start; those of other domains when the first operator of the domain is asked
for.
"""

from collections.abc import Iterable
from functools import partial
from importlib import import_module

from toolkit.operators.record import PENDING

FAMILIES: tuple[str, ...] = (
    "standard.activation",
    "standard.activation_operators",
    "standard.arithmetic",
    "standard.attention",
    "standard.batch_normalization",
    "standard.batch_normalization_gradient",
    "standard.cast",
    "standard.causal_convolution",
    "standard.columns_to_image",
    "standard.constant",
    "standard.control_flow",
    "standard.convolution",
    "standard.convolution_gradient",
    "standard.cropping",
    "standard.cumulative",
    "standard.cut_sequences",
    "standard.deformable_convolution",
    "standard.detection",
    "standard.determinant",
    "standard.dropout",
    "standard.einsum",
    "standard.elementwise",
    "standard.elementwise_region",
    "standard.experimental",
    "standard.flex_attention",
    "standard.former_batch_normalization",
    "standard.fused_attention",
    "standard.gated_activation",
    "standard.global_pooling",
    "standard.grid_sample",
    "standard.image_decoder",
    "standard.indexing",
    "standard.joining",
    "standard.layer_normalization",
    "standard.limited_broadcast",
    "standard.linear",
    "standard.linear_attention",
    "standard.logic",
    "standard.loss",
    "standard.movement",
    "standard.n_grams",
    "standard.normalization",
    "standard.optimization",
    "standard.optionals",
    "standard.pooling",
    "standard.pooling_gradient",
    "standard.preview_gradient",
    "standard.preview_training",
    "standard.quantization",
    "standard.quantized_convolution",
    "standard.quantized_grid",
    "standard.quantized_linear",
    "standard.random_values",
    "standard.ranking",
    "standard.recurrent",
    "standard.recurrent_gradient",
    "standard.recurrent_layer",
    "standard.reduction",
    "standard.region_maximum",
    "standard.region_pooling",
    "standard.resampling",
    "standard.resize",
    "standard.reverse_sequence",
    "standard.rotary_embedding",
    "standard.rounding_to_type",
    "standard.selection",
    "standard.sequences",
    "standard.signal",
    "standard.slicing",
    "standard.softmax",
    "standard.straight_through",
    "standard.strings",
    "standard.temporal_classification",
    "standard.tensor_scatter",
    "standard.tokenizer",
    "standard.transposed_convolution",
    "standard.unpooling",
    "standard.window_functions",
)
FAMILIES_OF_DOMAINS: dict[str, tuple[str, ...]] = {
    "ai.onnx.ml": (
        "ml.encoders",
        "ml.linear",
        "ml.maps",
        "ml.scaling",
        "ml.support_vectors",
        "ml.trees",
    ),
    "com.microsoft": (
        "microsoft.activation",
        "microsoft.attention",
        "microsoft.convolution",
        "microsoft.decoding",
        "microsoft.experts",
        "microsoft.group_query_attention",
        "microsoft.hashing",
        "microsoft.images",
        "microsoft.linear_attention",
        "microsoft.matrix_product",
        "microsoft.normalization",
        "microsoft.packed_attention",
        "microsoft.quantization",
        "microsoft.quantized_attention",
        "microsoft.quantized_convolution",
        "microsoft.quantized_elementwise",
        "microsoft.quantized_embedding",
        "microsoft.quantized_linear",
        "microsoft.quantized_pooling",
        "microsoft.quantized_recurrent",
        "microsoft.quantized_weights",
        "microsoft.rotary_embedding",
        "microsoft.tensors",
        "microsoft.words",
    ),
}


def load(families: Iterable[str]) -> None:
    """Import families, which registers their records."""
    for family in families:
        import_module(f"toolkit.operators.{family}")


def load_everything() -> None:
    """Register the records of all domains, for whoever wants to walk them."""
    for domain in list(PENDING):
        PENDING.pop(domain)()


PENDING.update((domain, partial(load, families)) for domain, families in FAMILIES_OF_DOMAINS.items())
load(FAMILIES)
