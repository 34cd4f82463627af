"""Operators whose reference no CUDA graph can record when it runs on CuPy arrays, by what keeps it out.

A test runs every reference on arrays that notice (``tests/cuda/strict_array.py``) and compares with these lists. An
operator stands under the first reason that holds. Kernels of other families serve many of them, and are recorded.
"""

from __future__ import annotations

Names = dict[str, str]  # of a domain, the operators

# cuBLAS, cuSOLVER or cuFFT compute, which CuPy refuses while a stream is recorded
CALLS_LIBRARY: Names = {
    "": (
        "AffineGrid Attention CausalConvWithState Conv ConvInteger ConvTranspose DFT DeformConv Det Einsum "
        "GRU Gemm LSTM LinearAttention MatMul MatMulInteger QLinearConv QLinearMatMul RNN STFT"
    ),
    "ai.onnx.preview": "FlexAttention",
    "com.microsoft": (
        "Attention CDist CausalConvWithState ConvTransposeWithDynamicPads DecoderMaskedMultiHeadAttention "
        "DynamicQuantizeLSTM DynamicQuantizeMatMul FusedConv FusedGemm FusedMatMul FusedMatMulActivation "
        "GatedAdd GatedRelativePositionBias GemmFastGelu GroupQueryAttention Inverse Irfft LinearAttention "
        "MatMulBnb4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MultiHeadAttention NhwcConv "
        "NhwcFusedConv PackedAttention PackedMultiHeadAttention QAttention QGemm QLinearConv Rfft "
        "TransposeMatMul WordConvEmbedding"
    ),
    "toolkit": (
        "ByteConv ByteMatMul ConvInputGradient ConvWeightGradient DeformConvInputGradient DeformConvWeightGradient "
        "DetGradient FusedConv FusedMatMul GRUGradient GridConv GridSampleGridGradient InvertedResidual LSTMGradient "
        "LinearAttentionGradient RNNGradient Recurrent RecurrentGradient ScaledDotProductAttention "
        "ScaledDotProductAttentionGradient"
    ),
}
# the host waits for numbers from the device, or sorts there, whose scratch memory is not fixed
WAITS: Names = {
    "": "Col2Im Compress MaxUnpool Resize ReverseSequence TopK",
    "ai.onnx.preview.training": "Adagrad Adam Momentum",
    "com.microsoft": "CropAndResize NGramRepeatBlock QEmbedLayerNormalization RelativePositionBias",
    "toolkit": "CutSequences GridSampleInputGradient MaxPoolGradient",
}
# tables are copied from host memory that does not stay where it is
COPIES: Names = {
    "": "ImageScaler TensorScatter Upsample",
    "com.microsoft": (
        "EmbedLayerNormalization GatherBlockQuantized MRotaryEmbedding RestorePadding RotaryEmbedding UnfoldTensor"
    ),
    "toolkit": "Interpolation InterpolationGradient",
}

UNCAPTURABLE = frozenset(
    (domain, name)
    for reason in (CALLS_LIBRARY, WAITS, COPIES)
    for domain, names in reason.items()
    for name in names.split()
)
