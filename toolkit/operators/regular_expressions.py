r"""Regular expressions in RE2's syntax, which operators on strings use, turned into ones that Python's ``re`` takes.

The two mostly agree. What is rewritten: classes of ASCII (``\d``, ``\w``, ``\s``, ``\b``, ``[[:alpha:]]``) and of
Unicode categories (``\pL``), ``\z``, ``\Q...\E``, ``\x{...}``, ``$``, and flags in the middle of a pattern. Refused is
what RE2 does not have (look-around, back references) and what Python lacks (``\C``, scripts, the flag ``U``).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import defaultdict
from functools import cache

# Ranges of ASCII and what they leave of all characters, in the form that stands between brackets.
DIGIT, NO_DIGIT = "0-9", r"\x00-/:-\U0010ffff"
WORD, NO_WORD = "0-9A-Za-z_", r"\x00-/:-@\[-\^`{-\U0010ffff"
SPACE, NO_SPACE = r"\t\n\f\r\x20", r"\x00-\x08\x0b\x0e-\x1f!-\U0010ffff"
CLASSES = {"d": DIGIT, "D": NO_DIGIT, "w": WORD, "W": NO_WORD, "s": SPACE, "S": NO_SPACE}
NAMED = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t\x20",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": DIGIT,
    "graph": "!-~",
    "lower": "a-z",
    "print": r"\x20-~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\x0b\f\r\x20",
    "upper": "A-Z",
    "word": WORD,
    "xdigit": "0-9A-Fa-f",
}
TOKEN = re.compile(
    r"\\Q(?P<quoted>.*?)(?:\\E|$)"
    r"|\\p\{(?P<category>\^?\w+)\}|\\p(?P<short>\w)|\\P\{(?P<other>\w+)\}|\\P(?P<short_other>\w)"
    r"|\\x\{(?P<code>[0-9A-Fa-f]+)\}"
    r"|\\(?P<octal>[1-7][0-7]{2})"
    r"|\\(?P<escaped>.)"
    r"|\[:(?P<negated>\^?)(?P<named>\w+):\]"
    r"|\(\?(?P<flags>[imsU-]+)(?P<scope>[:)])"
    r"|(?P<naming>\(\?P?<(?=\w))"
    r"|(?P<opening>\((?:\?[^<]|\?<.)?)"
    r"|(?P<character>.)",
    re.DOTALL,
)


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, ready for use. Raises ``ValueError`` where RE2 does not take it, or Python cannot."""
    try:
        return re.compile(_Translation(pattern).result())
    except (re.error, OverflowError) as error:
        raise ValueError(f"the regular expression {pattern!r} is not valid: {error}") from error


class _Translation:
    """One pass over a pattern; ``_groups`` holds, per open group, the flags that were set within it."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._groups: list[list[str]] = [[]]
        self._is_multiline = [False]
        self._in_class = 0  # where the class that is open began in the output, else 0
        self._out: list[str] = []

    def result(self) -> str:
        """The pattern in Python's syntax."""
        for token in TOKEN.finditer(self._pattern):
            self._out.append(self._translated(token))
        return "".join(self._out) + ")" * len(self._groups[-1])

    def _refuse(self, what: str) -> ValueError:
        return ValueError(f"the regular expression {self._pattern!r} uses {what}, which is not supported")

    def _translated(self, token: re.Match[str]) -> str:
        found = {name: text for name, text in token.groupdict().items() if text is not None}
        if "quoted" in found:
            return re.escape(found["quoted"])
        if "category" in found or "short" in found:
            name = found.get("category", found.get("short", ""))
            return self._ranges(_category(name.removeprefix("^"), name.startswith("^")))
        if "other" in found or "short_other" in found:
            return self._ranges(_category(found.get("other", found.get("short_other", "")), True))
        if "code" in found:
            return re.escape(chr(int(found["code"], 16)))
        if "octal" in found:
            return re.escape(chr(int(found["octal"], 8)))
        if "escaped" in found:
            return self._escaped(found["escaped"], token.group())
        if self._in_class:
            return self._inside(token.group(), found)
        if "named" in found:  # outside of a class this is a class of these characters
            return f"[{re.escape(token.group()[1:-1])}]"
        return self._outside(token.group(), found, token.end())

    def _ranges(self, ranges: str) -> str:
        return ranges if self._in_class else f"[{ranges}]"

    def _escaped(self, character: str, text: str) -> str:
        if character in CLASSES:
            return self._ranges(CLASSES[character])
        if character in "bB" and not self._in_class:
            return f"(?a:{text})"
        if character == "z":
            return r"\Z"
        if character == "C":
            raise self._refuse(r"\C (a single byte)")
        if character in "123456789Z":
            raise self._refuse(f"{text} (a back reference, or an anchor of another dialect)")
        return text

    def _inside(self, text: str, found: dict[str, str]) -> str:
        if "named" in found:
            if found["named"] not in NAMED:
                raise self._refuse(f"the class {text}")
            ranges = NAMED[found["named"]]
            return _complement(ranges) if found["negated"] else ranges
        if text == "]" and len("".join(self._out[self._in_class :]).removeprefix("^")) > 0:
            self._in_class = 0
            return text
        return "".join(rf"\{item}" if item in "[]&~|" else item for item in text)

    def _outside(self, text: str, found: dict[str, str], end: int) -> str:
        if text == "[":
            self._in_class = len(self._out) + 1
            return text
        if "flags" in found:
            return self._flags(found["flags"], found["scope"])
        if "naming" in found or "opening" in found:
            if text.startswith("(?") and "naming" not in found and text != "(?:":
                raise self._refuse(f"{text} (look-around or the like)")
            self._open(self._is_multiline[-1])
            return "(?P<" if "naming" in found else text
        if text == ")" and len(self._groups) > 1:
            self._is_multiline.pop()
            return ")" * len(self._groups.pop()) + ")"
        if text == "|":
            return ")" * len(self._groups[-1]) + "|" + "".join(self._groups[-1])
        if text == "+" and self._out[-1:] in (["*"], ["+"], ["?"]):
            raise self._refuse(f"{self._out[-1]}+ (a possessive repetition)")
        if text == "$":
            return "$" if self._is_multiline[-1] else r"\Z"
        if text == "{" and not re.match(r"\d+(,\d*)?\}", self._pattern[end:]):
            return r"\{"
        return text

    def _open(self, is_multiline: bool) -> None:
        self._groups.append([])
        self._is_multiline.append(is_multiline)

    def _flags(self, flags: str, scope: str) -> str:
        on, _, off = flags.partition("-")
        if "U" in flags:
            raise self._refuse("the flag U (ungreedy)")
        is_multiline = ("m" in on or self._is_multiline[-1]) and "m" not in off
        opening = f"(?{on}{'-' + off if off else ''}:"
        if scope == ":":
            self._open(is_multiline)
        else:  # Python takes flags for a group only: one that lasts to the end of this one, or the next alternative
            self._groups[-1].append(opening)
            self._is_multiline[-1] = is_multiline
        return opening


@cache
def _characters() -> dict[str, str]:
    """The characters of each Unicode category, by its two letters."""
    found: dict[str, list[str]] = defaultdict(list)
    for code in range(sys.maxunicode + 1):
        found[unicodedata.category(chr(code))].append(chr(code))
    return {name: "".join(characters) for name, characters in found.items()}


@cache
def _category(name: str, is_negated: bool) -> str:
    """The ranges of a Unicode category of one or two letters, or of all others."""
    chosen = "".join(characters for key, characters in _characters().items() if key.startswith(name))
    if not chosen or len(name) > 2:
        raise ValueError(f"the Unicode class {name!r} is not supported: only categories (L, Lu, Nd, ...) are")
    ranges = _as_ranges(sorted(map(ord, chosen)))
    return _complement(ranges) if is_negated else ranges


def _complement(ranges: str) -> str:
    """The ranges of all characters that are not in these."""
    pattern = re.compile(f"[^{ranges}]")
    return _as_ranges([code for code in range(sys.maxunicode + 1) if pattern.match(chr(code))])


def _as_ranges(codes: list[int]) -> str:
    """Ascending numbers of characters as ranges that stand between brackets."""
    parts = []
    start = previous = codes[0]
    for code in [*codes[1:], -1]:
        if code != previous + 1:
            parts.append(f"\\U{start:08x}-\\U{previous:08x}")
            start = code
        previous = code
    return "".join(parts)
