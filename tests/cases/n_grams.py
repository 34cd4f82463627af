"""Cases of ``toolkit.operators.standard.n_grams``."""

from typing import Any

from tests.support.case import Case, Given, integers, variable

NUMBERS = [2, 3, 5, 4, 5, 6, 7, 8, 6, 7, 6, 7, 5]  # four 1-grams, three 2-grams, one 3-gram
WORDS = ["a", "b", "c", "a", "b", "b", "c", "c", "c"]  # three 1-grams, three 2-grams


def case(given: Given, note: str, skips: int, lengths: tuple[int, int], mode: str = "TF", **attributes: Any) -> Case:
    """A TfIdfVectorizer on the numbers, unless the attributes say otherwise."""
    pool = {"pool_int64s": NUMBERS, "ngram_counts": [0, 4, 10], "ngram_indexes": [0, 1, 2, 3, 4, 5, 6, 7]}
    common = {"mode": mode, "max_skip_count": skips, "min_gram_length": lengths[0], "max_gram_length": lengths[1]}
    return Case("TfIdfVectorizer", [given], {**pool, **common, **attributes}, version=9, note=note)


def of_words(note: str, mode: str, **attributes: Any) -> Case:
    """The same for 1-grams and 2-grams of words."""
    text = variable(lambda batch: [list("abcabc"), list("ccbaxx"), list("abcccc")][:batch], "object")
    pool = {"pool_int64s": None, "pool_strings": WORDS, "ngram_counts": [0, 3]}
    return case(text, note, 1, (1, 2), mode, **pool, ngram_indexes=[5, 3, 0, 1, 2, 4], **attributes)


ROWS = integers("N", 12, low=2, high=9)
WEIGHTS = [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]

CASES = [
    case(ROWS, "1-grams", 0, (1, 1)),
    case(ROWS, "2-grams", 0, (2, 2)),
    case(ROWS, "all", 0, (1, 3)),
    case(ROWS, "skips", 5, (1, 3)),
    case(ROWS, "skips beyond the row", 20, (2, 3)),
    case(integers(12, low=2, high=9, dtype="int32"), "vector", 2, (1, 2)),
    case(integers("N", 0, low=2, high=9), "no tokens", 1, (1, 2)),
    case(ROWS, "inverse", 1, (1, 3), "IDF", weights=[*WEIGHTS, 7.0, 8.0]),
    case(ROWS, "shared columns", 1, (1, 3), ngram_indexes=[0, 0, 1, 1, 4, 4, 2, 4]),
    of_words("words", "TF"),
    of_words("weighted words", "TFIDF", weights=WEIGHTS),
    of_words("weights of words", "IDF", weights=WEIGHTS),
    of_words("words without weights", "IDF"),
]
