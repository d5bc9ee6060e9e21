"""The field rule: which source columns are the instruction and the response.

Decided once, in the plan, from the schema and a sample; workers only follow the ``FieldMapping``.
Order of preference: the named pairs of ``RULES`` (the guide's first, then those that public data
sets use), else the first two text columns that hold prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transforms.errors import UsageError
from transforms.records import Column

Sample = Sequence[Mapping[str, object]]
"""Some rows of the source, column name -> value."""


@dataclass(frozen=True)
class FieldMapping:
    """The columns of the instruction and of the response, and what stands between joined ones.

    The first column of each is required; blank values of the others are left out of the join.
    """

    instruction: tuple[str, ...]
    response: tuple[str, ...]
    instruction_separator: str = "\n\n"
    response_separator: str = "\n\n"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once, instruction first."""
        return tuple(dict.fromkeys(self.instruction + self.response))

    def describe(self) -> str:
        """The mapping as the ``--fields`` flag would say it."""
        flag = f"instruction={'+'.join(self.instruction)},response={'+'.join(self.response)}"
        broken = len(self.instruction) > 1 and self.instruction_separator == "\n"
        return f"{flag} (joined with a line break)" if broken else flag


@dataclass(frozen=True)
class FieldChoice:
    """A mapping with why it was chosen, for the plan to print."""

    mapping: FieldMapping
    rule: str
    unused_text: tuple[str, ...]
    hint: str = ""


@dataclass(frozen=True)
class _Rule:
    instruction: str
    response: str
    optional_input: str = ""

    @property
    def name(self) -> str:
        extra = f"(+{self.optional_input})" if self.optional_input else ""
        return f"{self.instruction}{extra}+{self.response}"


RULES = (
    _Rule("question", "reasoning"),
    _Rule("prompt", "completion"),
    _Rule("instruction", "output", optional_input="input"),
    _Rule("input", "output"),
    _Rule("question", "answer"),
    _Rule("problem", "solution"),
    _Rule("instruction", "response"),
)

TEXT = "string"
"""The Arrow type name of a text column in a ``Column``."""

NUMBERS = ("int64", "double", "bool", "decimal")
"""Types that may be joined into a field when the user names them: written as Arrow casts them."""


def detect(columns: Sequence[Column], sample: Sample) -> FieldChoice:
    """The instruction and response columns of a source with these columns and sample rows.

    Raises ``UsageError``, listing the columns and the flag, where nothing is suitable.
    """
    strings = [c.name for c in columns if c.type == TEXT]
    text = [name for name in strings if _has_text(name, sample)]
    for exact in (True, False):
        for rule in RULES:
            mapping = _apply(rule, text, strings, exact)
            if mapping:
                return _choice(mapping, f"columns {rule.name}", text)
    prose = [name for name in text if _is_prose(name, sample)]
    if len(prose) >= 2:
        mapping = FieldMapping((prose[0],), (prose[1],))
        return _choice(mapping, "the first two text columns that hold prose", text)
    found = ", ".join(f"{c.name} ({c.type})" for c in columns) or "no columns"
    raise UsageError(
        "cannot tell which columns are the instruction and the response: expected one of "
        f"{', '.join(rule.name for rule in RULES)}, or two text columns that hold prose; "
        f"found {found}. Name them: --fields instruction=COLUMN,response=COLUMN"
    )


def parse(flag: str, columns: Sequence[Column]) -> FieldMapping:
    """The mapping of a ``--fields`` value such as ``instruction=question,response=a+b``.

    Raises ``UsageError`` where the value is malformed or names a column that is not there.
    """
    parts: dict[str, tuple[str, ...]] = {}
    for part in flag.split(","):
        field, equals, names = part.partition("=")
        field = field.strip()
        if not equals or field not in ("instruction", "response") or field in parts:
            raise UsageError(
                f"--fields {flag!r} is not of the form instruction=COLUMN,response=COLUMN+COLUMN"
            )
        parts[field] = tuple(name.strip() for name in names.split("+"))
    if len(parts) != 2:
        raise UsageError(f"--fields {flag!r} must name both instruction and response")
    for name in (*parts["instruction"], *parts["response"]):
        require_column(name, columns, "--fields", (TEXT, *NUMBERS))
    return FieldMapping(parts["instruction"], parts["response"])


def require_column(
    name: str, columns: Sequence[Column], flag: str, types: Sequence[str] = (TEXT, *NUMBERS)
) -> Column:
    """The column of that name; ``UsageError`` naming ``flag`` if absent or not of these types."""
    by_name = {c.name: c for c in columns}
    if name not in by_name:
        raise UsageError(
            f"{flag} names the column {name!r}, which is not in the data; "
            f"found {', '.join(by_name) or 'no columns'}"
        )
    column = by_name[name]
    if column.type.split("128")[0].split("256")[0] not in types:
        raise UsageError(
            f"{flag} names the column {name!r}, whose type is {column.type}; "
            "a text or number column is needed"
        )
    return column


def _apply(
    rule: _Rule, text: Sequence[str], strings: Sequence[str], exact: bool
) -> FieldMapping | None:
    def find(name: str, among: Sequence[str]) -> str | None:
        if exact:
            return name if name in among else None
        return next((c for c in among if c.lower() == name), None)

    instruction, response = find(rule.instruction, text), find(rule.response, text)
    if instruction is None or response is None:
        return None
    # The optional input may well be blank throughout the sample and not after it.
    extra = find(rule.optional_input, strings) if rule.optional_input else None
    if extra is None:
        return FieldMapping((instruction,), (response,))
    return FieldMapping((instruction, extra), (response,), instruction_separator="\n")


def _choice(mapping: FieldMapping, rule: str, text: Sequence[str]) -> FieldChoice:
    unused = tuple(name for name in text if name not in mapping.columns)
    answer = next((name for name in unused if name.lower() in ("answer", "solution")), None)
    hint = ""
    if answer and mapping.response[0].lower() == "reasoning":
        joined = f"instruction={mapping.instruction[0]},response={mapping.response[0]}+{answer}"
        hint = (
            f"the column {answer!r} is not used; to put it after the reasoning: --fields {joined}"
        )
    return FieldChoice(mapping, rule, unused, hint)


def _values(name: str, sample: Sample) -> list[str]:
    cells = (row.get(name) for row in sample)
    return [cell for cell in cells if isinstance(cell, str) and cell.strip()]


def _has_text(name: str, sample: Sample) -> bool:
    # A column that is there but blank throughout the sample would reject every row.
    return not sample or bool(_values(name, sample))


_ADDRESS = re.compile(
    r"""\s*(?:
        [a-z][a-z0-9+.-]*://\S*                  # URL
      | (?:~|\.{1,2})?/\S*                       # path
      | (?:~|\.{1,2})?(?:/[^/\n]+)+\.\w{1,5}     # path of a file, with spaces
      | [A-Za-z]:[\\/].* | \\\S*                 # Windows path
    )\s*""",
    re.VERBOSE,
)
_DATE_WORD = re.compile(
    r"""\(?(?:
        [\d.:,/+-]+(?:st|nd|rd|th)? | [\d.:/-]+T[\d.:+-]+Z?
      | (?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?
      | (?:jan|febr?)(?:uary)? | mar(?:ch)? | apr(?:il)? | may | june? | july? | aug(?:ust)?
      | (?:sept?(?:em)?|oct(?:o)?|nov(?:em)?|dec(?:em)?)(?:ber)?
      | [ap]\.?m\.? | utc | gmt | of | at
    )[,.)]*""",
    re.VERBOSE | re.IGNORECASE,
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


def _is_prose(name: str, sample: Sample) -> bool:
    values = _values(name, sample)
    if not values:
        return False
    if len(values) >= 20 and len(set(values)) <= len(values) // 10:
        return False  # an enum: few values, many times
    return sum(map(_looks_like_prose, values)) * 2 >= len(values)


def _looks_like_prose(value: str) -> bool:
    start = value[:400]
    if _ADDRESS.fullmatch(start):
        return False
    # Scripts that write no spaces between words: four characters say about as much as three words.
    if len(_CJK.findall(start[:200])) >= 4:
        return True
    words = start.split()
    return len(words) >= 3 and not all(map(_DATE_WORD.fullmatch, words))
