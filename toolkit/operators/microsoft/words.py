"""com.microsoft WordConvEmbedding: words, as rows of character numbers that end with 0, become vectors."""

from __future__ import annotations

import numpy as np

from toolkit.operators.composed import composed, required
from toolkit.operators.derivative import cast
from toolkit.operators.expression import Expression, emit, indices, reshape, where
from toolkit.operators.microsoft.quantization import MICROSOFT
from toolkit.operators.record import Call

NO_WINDOW = -1e30  # below every value of the convolution, and finite, so that its gradient is zero


def _word_embedding(call: Call) -> list[Expression | None]:
    """The largest answer of each filter over the windows within the word; zeros for an empty word."""
    words, weight = call.x, required(call, 1, "W")
    bias, characters = required(call, 2, "B"), required(call, 3, "C")
    filters, _, width, size = weight.shape
    if words.ndim < 1 or words.shape[-1] < width or characters.shape[1] != size:
        raise ValueError(f"words {words.shape} must hold windows of {width} characters of size {size}")
    lead, length = words.shape[:-1], words.shape[-1]
    count, windows = int(np.prod(lead, dtype=np.int64)), length - width + 1
    flat = reshape(words, (count, length))
    ended = cast(emit("Equal", flat, 0), np.dtype(np.int32))
    is_word = emit("Equal", emit("CumSum", ended, np.asarray(1)), 0)
    last = emit("Slice", is_word, *(indices(words, [item]) for item in (width - 1, length, 1)))
    is_within = emit("Or", last, (np.arange(windows) == 0).reshape(1, windows))
    line = reshape(emit("Gather", characters, flat, axis=0), (count, 1, length, size))
    answers = reshape(emit("Conv", line, weight, bias), (count, filters, windows))
    kept = where(reshape(is_within, (count, 1, windows)), answers, NO_WINDOW)
    best = emit("Tanh", emit("ReduceMax", kept, indices(kept, [2]), keepdims=0))
    first = emit("Slice", is_word, *(indices(words, [item]) for item in (0, 1, 1)))
    return [reshape(where(first, best, 0.0), (*lead, filters))]


composed("WordConvEmbedding", _word_embedding, domain=MICROSOFT)
