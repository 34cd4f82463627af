"""Cases of ``toolkit.operators.standard.strings``."""

from tests.support.case import Case, Given, variable

WORDS = ["Tokyo", "the", "Zürich", "THE", "", "a b"]


def words(*shape: int) -> Given:
    """Words of that shape, behind the batch axis."""
    size = 1
    for extent in shape:
        size *= extent

    def content(batch: int) -> list:
        flat = [WORDS[number % len(WORDS)] for number in range(batch * size)]
        if not shape:
            return flat
        return [flat[row * size : (row + 1) * size] for row in range(batch)]

    return variable(content, "object")


SENTENCES = variable(lambda batch: [["a b c", " x  y "], ["", "one"], ["a,b,,c", ","]][:batch], "object")
UTF_8 = {"locale": "C.UTF-8"}

CASES = [
    Case("StringConcat", [words(4), variable(["!", "?", "", " "], "object")], version=20),
    Case("StringConcat", [words(4), variable("s", "object")], version=20, note="a scalar"),
    Case("StringConcat", [variable("a", "object"), variable("b", "object")], version=20, note="scalars"),
    Case("StringSplit", [SENTENCES], version=20, outputs=2),
    Case("StringSplit", [SENTENCES], {"delimiter": "", "maxsplit": 1}, version=20, outputs=2, note="white space"),
    Case(
        "StringSplit",
        [SENTENCES],
        {"delimiter": ","},
        version=20,
        outputs=2,
        judge="onnx.reference",  # onnxruntime finds no part in an empty string, though two in a lone delimiter
        note="delimiter",
    ),
    Case(
        "StringSplit",
        [variable(["a--b--c", "--", "d"], "object")],
        {"delimiter": "--", "maxsplit": 1},
        version=20,
        outputs=2,
        note="long delimiter",
    ),
    Case("StringSplit", [variable("a b", "object")], version=20, outputs=2, judge="onnxruntime", note="a scalar"),
    Case("StringSplit", [variable(["", " "], "object")], version=20, outputs=2, note="nothing but space"),
    Case("StringSplit", [variable([[], []], "object")], version=20, outputs=2, note="no strings"),
    Case("StringNormalizer", [words()], UTF_8, version=10),
    Case("StringNormalizer", [words()], {**UTF_8, "case_change_action": "UPPER"}, version=10, note="upper"),
    Case(
        "StringNormalizer",
        [variable([WORDS], "object")],
        {**UTF_8, "case_change_action": "LOWER"},
        version=10,
        note="lower",
    ),
    Case(
        "StringNormalizer",
        [words()],
        {**UTF_8, "stopwords": ["THE", "zürich"]},
        version=10,
        is_data_dependent=True,
        note="stop words",
    ),
    Case(
        "StringNormalizer",
        [variable([WORDS], "object")],
        {**UTF_8, "stopwords": ["THE", "zürich"], "is_case_sensitive": 1, "case_change_action": "UPPER"},
        version=10,
        is_data_dependent=True,
        note="case-sensitive",
    ),
    Case(
        "StringNormalizer",
        [variable([["the", "The"]], "object")],
        {**UTF_8, "stopwords": ["the"]},
        version=10,
        is_data_dependent=True,
        note="nothing left",
    ),
    Case("RegexFullMatch", [words(4)], {"pattern": r"(?i)t\w+"}, version=20),
    Case("RegexFullMatch", [words(2, 2)], {"pattern": r"[[:alpha:]ü]*"}, version=20, note="class"),
]
