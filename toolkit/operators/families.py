"""The one list of operator families, whose modules register their records. A new family is one more line here.

Those of ``FAMILIES`` are there from the start; those of ``RARE_FAMILIES`` when one of the operators is asked for that
are listed with them; those of other domains when the first operator of the domain is. What few models need costs the
others no time.
"""

from collections.abc import Iterable
from functools import partial
from importlib import import_module

from toolkit.operators.record import LATER, PENDING

FAMILIES: tuple[str, ...] = (
    "standard.activation",
    "standard.activation_operators",
    "standard.arithmetic",
    "standard.batch_normalization",
    "standard.batch_normalization_gradient",
    "standard.cast",
    "standard.constant",
    "standard.convolution",
    "standard.elementwise",
    "standard.former_batch_normalization",
    "standard.indexing",
    "standard.joining",
    "standard.layer_normalization",
    "standard.limited_broadcast",
    "standard.linear",
    "standard.logic",
    "standard.movement",
    "standard.pooling",
    "standard.quantization",
    "standard.quantized_linear",
    "standard.reduction",
    "standard.slicing",
    "standard.softmax",
)
RARE_FAMILIES: dict[str, str] = {
    "standard.attention": "Attention",
    "standard.batch_normalization_repeated": "toolkit::BatchNormalizationRepeated",
    "standard.causal_convolution": "CausalConvWithState",
    "standard.columns_to_image": "Col2Im toolkit::Im2Col",
    "standard.control_flow": "If Loop Scan",
    "standard.convolution_gradient": "toolkit::ConvInputGradient toolkit::ConvWeightGradient",
    "standard.cropping": "CenterCropPad",
    "standard.cumulative": "CumProd CumSum",
    "standard.cut_sequences": "toolkit::CutSequences",
    "standard.deformable_convolution": "DeformConv toolkit::DeformConvInputGradient toolkit::DeformConvWeightGradient",
    "standard.detection": "NonMaxSuppression",
    "standard.determinant": "Det toolkit::DetGradient",
    "standard.dropout": "Dropout toolkit::MaskedScale",
    "standard.einsum": "Einsum",
    "standard.elementwise_region": "toolkit::ElementwiseRegion",
    "standard.experimental": (
        "Affine ConstantFill Crop DynamicSlice GivenTensorFill ImageScaler ParametricSoftplus Scale ScaledTanh"
    ),
    "standard.flex_attention": "ai.onnx.preview::FlexAttention",
    "standard.fused_attention": (
        "toolkit::DroppingAttention toolkit::ScaledDotProductAttention toolkit::ScaledDotProductAttentionGradient"
    ),
    "standard.gated_activation": "SwiGLU",
    "standard.global_pooling": "GlobalAveragePool GlobalLpPool GlobalMaxPool",
    "standard.grid_sample": "AffineGrid GridSample toolkit::GridSampleGridGradient toolkit::GridSampleInputGradient",
    "standard.image_decoder": "ImageDecoder",
    "standard.inverted_residual": "toolkit::InvertedResidual",
    "standard.linear_attention": "LinearAttention toolkit::LinearAttentionGradient",
    "standard.loss": "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss toolkit::SoftmaxCrossEntropyGradient",
    "standard.n_grams": "TfIdfVectorizer",
    "standard.normalization": "GroupNormalization InstanceNormalization LRN LpNormalization MeanVarianceNormalization",
    "standard.optimization": "toolkit::ElementwiseUpdate toolkit::SumOfSquares",
    "standard.optionals": "Optional OptionalGetElement OptionalHasElement",
    "standard.pooling_gradient": "toolkit::AveragePoolGradient toolkit::MaxPoolGradient toolkit::MaxPoolTraining",
    "standard.preview_gradient": "ai.onnx.preview.training::Gradient",
    "standard.preview_training": (
        "ai.onnx.preview.training::Adagrad ai.onnx.preview.training::Adam ai.onnx.preview.training::Momentum"
    ),
    "standard.quantized_bytes": "toolkit::ByteConv toolkit::ByteMatMul toolkit::Regrid",
    "standard.quantized_convolution": "ConvInteger MatMulInteger QLinearConv QLinearMatMul",
    "standard.quantized_grid": "toolkit::GridConv toolkit::OnGrid",
    "standard.random_values": "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    "standard.ranking": "ArgMax ArgMin TopK",
    "standard.recurrent": "GRU LSTM RNN",
    "standard.recurrent_gradient": "toolkit::GRUGradient toolkit::LSTMGradient toolkit::RNNGradient",
    "standard.recurrent_layer": "toolkit::Recurrent toolkit::RecurrentGradient",
    "standard.region_maximum": "MaxRoiPool toolkit::MaxRoiPoolGradient",
    "standard.region_pooling": "RoiAlign toolkit::RoiAlignAverageGradient toolkit::RoiAlignMaximumGradient",
    "standard.resampling": "toolkit::Interpolation toolkit::InterpolationGradient",
    "standard.resize": "Resize Upsample",
    "standard.reverse_sequence": "ReverseSequence",
    "standard.rotary_embedding": "RotaryEmbedding",
    "standard.rounding_to_type": "toolkit::RoundToType",
    "standard.selection": "Compress Unique",
    "standard.sequences": (
        "ConcatFromSequence SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
        "SequenceLength SequenceMap SplitToSequence"
    ),
    "standard.signal": "DFT STFT",
    "standard.straight_through": (
        "toolkit::DequantizeStraightThrough toolkit::DynamicRange toolkit::QuantizeStraightThrough "
        "toolkit::StraightThrough"
    ),
    "standard.strings": "RegexFullMatch StringConcat StringNormalizer StringSplit",
    "standard.temporal_classification": "toolkit::CTCLoss toolkit::CTCLossGradient",
    "standard.tensor_scatter": "TensorScatter",
    "standard.tokenizer": "com.microsoft::Tokenizer",
    "standard.transposed_convolution": "ConvTranspose",
    "standard.unpooling": "MaxUnpool",
    "standard.window_functions": "BlackmanWindow HammingWindow HannWindow MelWeightMatrix",
}
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
    load(RARE_FAMILIES)
    LATER.clear()


PENDING.update((domain, partial(load, families)) for domain, families in FAMILIES_OF_DOMAINS.items())
for _family, _operators in RARE_FAMILIES.items():
    for _operator in _operators.split():
        _domain, _, _name = _operator.rpartition("::")
        LATER[_domain, _name] = partial(load, (_family,))
load(FAMILIES)
