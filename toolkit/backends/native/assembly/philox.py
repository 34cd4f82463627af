"""Random bits that follow from a key and a number alone, whoever asks for them: the generator Philox4x32-10.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011). Each number of a sequence has 128 bits of its own,
so threads share a sequence without knowing of each other, and a vector has the bits of several numbers at once.
"""

from __future__ import annotations

import numpy as np

from toolkit.backends.native.assembly.number import Number

UINT64 = np.dtype(np.uint64)
ROUNDS = 10
_FACTORS, _STEPS = (
    (0xD2511F53, 0xCD9E8D57),
    (0x9E3779B9, 0xBB67AE85),
)  # of the words, and of the key from round to round
_LOW = 0xFFFFFFFF


def random_bits(numbers: Number, key: Number) -> tuple[Number, Number]:
    """128 bits for each of ``numbers``, in two words of 64 each; all are of type uint64."""
    words = [numbers, numbers >> 32, numbers.like(0), numbers.like(0)]  # what lies above the low half does not matter
    keys = [key, key >> 32]
    for round_number in range(ROUNDS):
        first, second = ((words[2 * index] & _LOW) * factor for index, factor in enumerate(_FACTORS))
        own = [part + step * round_number for part, step in zip(keys, _STEPS, strict=True)]
        words = [(second >> 32) ^ words[1] ^ own[0], second, (first >> 32) ^ words[3] ^ own[1], first]
    low, high = ((words[index] & _LOW) | (words[index + 1] << 32) for index in (0, 2))
    return low, high
