"""What operators on strings refuse, and regular expressions in RE2's syntax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolkit.operators.standard.n_grams import infer_tf_idf_vectorizer, tf_idf_vectorizer
from toolkit.operators.standard.regular_expressions import compiled
from toolkit.operators.standard.strings import regex_full_match, string_concat, string_normalizer
from toolkit.operators.standard.tokenizer import tokenizer


def texts(*items: str) -> np.ndarray:
    return np.array(items, dtype=object)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"\d", "4", "\u0664"),  # an Arabic four: ASCII only
        (r"\w+", "az_9", "é"),
        (r"[^\W\d]", "a", "1"),
        (r"\pL", "é", "1"),
        (r"\P{Lu}", "é", "É"),
        (r"[\p{Nd}x]", "\u0664", "y"),
        (r"[[:^digit:]]", "a", "1"),
        (r"[]a]", "]", "b"),
        (r"a(?i)b|c", "C", "A"),
        (r"(?:a(?i)b)c", "aBc", "aBC"),
        (r"(?i)(?-i:a)b", "aB", "AB"),
        (r"(?m)a$\nb", "a\nb", "a"),
        (r"a$", "a", "a\n"),
        (r"\Qa.b\E+", "a.bb", "axb"),
        (r"\x{e9}\101", "éA", "e"),
        (r"a{,2}", "a{,2}", "aa"),
        (r"(?<first>a)b", "ab", "a"),
        (r"[a&&b]", "&", "c"),
    ],
)
def test_patterns_mean_what_re2_says(pattern: str, matching: str, other: str) -> None:
    np.testing.assert_array_equal(regex_full_match(texts(matching, other), pattern=pattern), [True, False])


@pytest.mark.parametrize("pattern", [r"(?=a)", r"(a)\1", r"a++", r"[[:letter:]]", r"(a"])
def test_patterns_that_re2_does_not_have_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"regular expression .* is not valid: "):
        compiled(pattern)


def test_a_match_needs_a_pattern() -> None:
    with pytest.raises(ValueError, match="attribute 'pattern' is required"):
        regex_full_match(texts("a"))


def test_only_a_row_is_normalised() -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(C\) or \(1, C\), got \(2, 1\)"):
        string_normalizer(np.array([["a"], ["b"]], dtype=object))
    with pytest.raises(ValueError, match="case_change_action must be one of NONE, LOWER, UPPER, got 'TITLE'"):
        string_normalizer(texts("a"), case_change_action="TITLE")


def test_a_change_of_case_keeps_the_length() -> None:
    assert string_normalizer(texts("straße"), case_change_action="UPPER").tolist() == ["STRAßE"]
    assert string_normalizer(texts("İI"), case_change_action="LOWER").tolist() == ["İi"]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "attribute 'separators' or 'tokenexp' is required"),
        ({"separators": [" "], "mincharnum": 0}, "mincharnum must be positive, got 0"),
        ({"separators": [""], "mincharnum": 2}, "characters are 1 long"),
    ],
)
def test_tokenizers_that_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(texts("a b"), **{"mark": 0, "mincharnum": 1, "pad_value": "#", **attributes})


def test_texts_are_a_vector_or_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(C\) or \(N, C\), got \(1, 1, 1\)"):
        tokenizer(np.full((1, 1, 1), "a", dtype=object), mark=0, mincharnum=1, pad_value="#", separators=[" "])


COUNTING: dict[str, Any] = {
    "mode": "TF",
    "min_gram_length": 1,
    "max_gram_length": 2,
    "max_skip_count": 0,
    "ngram_counts": [0, 2],
    "ngram_indexes": [0, 1, 2],
    "pool_int64s": [5, 6, 5, 6],
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "DF"}, "mode must be one of TF, IDF, TFIDF, got 'DF'"),
        ({"pool_int64s": None, "pool_strings": ["a", "b", "a", "b"]}, "strings need pool_strings and integers need"),
        ({"pool_int64s": [5, 5, 5, 6]}, "an n-gram of length 1 stands more than once"),
        ({"ngram_counts": [0, 1]}, "must ascend and leave whole 2-grams of 4 items"),
        ({"ngram_indexes": [0, 1]}, "must have one entry for each of 3 n-grams"),
        ({"weights": [1.0]}, "must have one entry for each of 3 n-grams"),
    ],
)
def test_pools_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf_idf_vectorizer(np.array([5, 6, 5]), **{**COUNTING, **changed})


def test_tokens_are_a_vector_or_a_matrix() -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(C\) or \(N, C\)"):
        tf_idf_vectorizer(np.zeros((1, 1, 1), np.int64), **COUNTING)
    with pytest.raises(ValueError, match=r"must have the shape \(C\) or \(N, C\)"):
        infer_tf_idf_vectorizer([(np.dtype(np.int64), (1, 1, 1))], COUNTING, [None])


def test_joined_strings_have_a_limit() -> None:
    long = np.array(["a" * 10_000], object)
    assert string_concat(long, np.full(3, "b", object)).shape == (3,)
    assert string_concat(long, np.empty(0, object)).shape == (0,)
    with pytest.raises(ValueError, match="the results must hold at most 67108864 characters in all, got 300030000"):
        string_concat(long, np.full(30_000, "b", object)[:, None])
