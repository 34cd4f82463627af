"""Cases of ``toolkit.operators.standard.tokenizer``."""

from typing import Any

from tests.support.case import Case, variable

TEXTS = variable(lambda batch: [["a b, c.d", "héllo wörld"], ["", " "], ["xaby", "ab  cd22"]][:batch], "object")
VECTOR = variable(["ab cd22", "x", "", "b. éé,"], "object")
NOTHING = variable(["", " "], "object")


def case(note: str, given: Any = TEXTS, **attributes: Any) -> Case:
    """A Tokenizer with whatever is said about it."""
    attributes = {"mark": 0, "mincharnum": 1, "pad_value": "#", **attributes}
    return Case("Tokenizer", [given], attributes, version=1, domain="com.microsoft", note=note, judge="onnxruntime")


CASES = [
    case("separators", separators=[" ", r"\.", ",", r"\?", "-"]),
    case("one after the other", separators=[" ", "ab|[.,]", "d"]),
    case("overlapping", variable(["banana", "aXXbX"], "object"), separators=["ana", "XX", "an", "X"]),
    case("long ones first", variable(["banana"], "object"), separators=["(a)n"], mincharnum=2),
    case("matches of nothing", variable(["xaby", "ab cd"], "object"), separators=["b*"]),
    case("word boundaries", VECTOR, separators=[r"\b"]),
    case("anchors", variable(["abcab", "éa"], "object"), separators=["c", "^a", "$"]),
    case("marks", separators=[" "], mark=1),
    case("marks around nothing", NOTHING, separators=[" "], mark=1),
    case("nothing", NOTHING, separators=[" "]),
    case("characters", separators=[""]),
    case("marked characters", VECTOR, separators=[""], mark=1),
    case("expression", VECTOR, tokenexp=r"[a-z]+|\d"),
    case("marked expression", VECTOR, tokenexp=r"([^ ])+", mark=1, mincharnum=2, pad_value=""),
    case("expression for nothing", VECTOR, tokenexp="[a-z]*"),
    case("both", VECTOR, tokenexp="[a-z]", separators=["c"]),
    case("no strings", variable([], "object"), separators=[" "]),
]
