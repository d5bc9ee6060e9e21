"""The field rule: detects the columns of instruction and response, or of turns.

The plan applies it once, to the schema and a sample; workers only follow the mapping.  In order of
preference: the guide's pair, a column of turns (``detect_turns``), the other pairs of ``RULES``
(those that public data sets use), the first two text columns that contain prose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from transforms.conversations import reasoning
from transforms.conversations.detect_turns import SYSTEM_NAMES, detect_turns, turn_mapping
from transforms.conversations.field_mapping import FieldChoice, FieldMapping, PairMapping
from transforms.conversations.pair_turns import is_history
from transforms.conversations.roles import ALIASES
from transforms.errors import UsageError
from transforms.records import Column

Sample = Sequence[Mapping[str, object]]
"""Some rows of the source, column name -> value."""


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
    _Rule("question", "response"),
)

TEXT = "string"
"""The Arrow type name of a text column in a ``Column``."""

NUMBERS = ("int64", "double", "bool", "decimal")
"""Types of columns that the user may name for a field; Arrow casts them to text."""


def detect(
    columns: Sequence[Column], sample: Sample, roles: Mapping[str, str] = ALIASES
) -> FieldChoice:
    """Chooses the columns of a source.

    Args:
        columns: the columns of the source.
        sample: some of its rows.
        roles: names of roles -> role.

    Raises:
        UsageError: no columns are suitable.
    """
    strings = [c.name for c in columns if c.type == TEXT]
    text = [name for name in strings if _has_text(name, sample)]
    guides = _apply(RULES[0], text, strings, exact=True)
    if guides:
        return _choice(guides, f"columns {RULES[0].name}", text, columns, sample)
    turns = detect_turns(columns, sample, roles)
    if turns:
        return turns
    for exact in (True, False):
        for rule in RULES:
            mapping = _apply(rule, text, strings, exact)
            if mapping:
                return _choice(mapping, f"columns {rule.name}", text, columns, sample)
    prose = [name for name in text if _is_prose(name, sample)]
    # Reasoning is never a prompt.
    prose.sort(key=lambda name: name.lower() in reasoning.NAMES)
    if len(prose) >= 2:
        mapping = PairMapping((prose[0],), (prose[1],))
        why = "the first two text columns that hold prose"
        return _choice(mapping, why, text, columns, sample)
    found = ", ".join(f"{c.name} ({c.type})" for c in columns) or "no columns"
    raise UsageError(
        "cannot detect the columns of the instruction and the response: expected one of "
        f"{', '.join(rule.name for rule in RULES)}, a list of turns with a role and a text, or two "
        f"text columns that contain prose; found {found}. Name them: --fields "
        "instruction=COLUMN,response=COLUMN or --fields messages=COLUMN"
    )


_PARTS = ("instruction", "response", "reasoning", "system", "history", "messages", "tools")


def parse(
    flag: str,
    columns: Sequence[Column],
    sample: Sample = (),
    roles: Mapping[str, str] = ALIASES,
) -> FieldMapping:
    """The mapping of a ``--fields`` value such as ``instruction=question,response=a+b``.

    ``reasoning``, ``system`` and ``history`` may follow.  Or ``messages`` names columns of turns,
    and ``system`` and ``tools`` may follow.

    Raises:
        UsageError: the value is malformed, or names a column that the data does not have.
    """
    parts: dict[str, tuple[str, ...]] = {}
    for part in flag.split(","):
        field, equals, names = part.partition("=")
        field = field.strip()
        if not equals or field not in _PARTS or field in parts:
            raise UsageError(
                f"--fields {flag!r} is not of the form instruction=COLUMN,response=COLUMN+COLUMN "
                "or messages=COLUMN"
            )
        parts[field] = tuple(name.strip() for name in names.split("+"))
    for field in ("reasoning", "system", "history", "tools"):
        if len(parts.get(field, "x")) != 1:
            raise UsageError(f"--fields {flag!r}: {field} is one column")
    nested = (*parts.get("messages", ()), *parts.get("history", ()), *parts.get("tools", ()))
    for name in (name for names in parts.values() for name in names):
        types = (TEXT, "list") if name in nested else (TEXT, *NUMBERS)
        require_column(name, columns, "--fields", types)
    if set(parts.get("history", ())) & {*parts.get("instruction", ()), *parts.get("response", ())}:
        raise UsageError(f"--fields {flag!r}: the history is neither instruction nor response")
    one = {field: parts[field][0] if field in parts else None for field in _PARTS}
    if "messages" in parts:
        if set(parts) - {"messages", "system", "tools"}:
            raise UsageError(f"--fields {flag!r}: only system and tools go with messages")
        return turn_mapping(parts["messages"], one["system"], one["tools"], sample, roles)
    if not {"instruction", "response"} <= set(parts) or "tools" in parts:
        raise UsageError(f"--fields {flag!r} must name both instruction and response, or messages")
    mapping = PairMapping(
        parts["instruction"],
        parts["response"],
        reasoning=one["reasoning"],
        system=one["system"],
        history=one["history"],
    )
    return replace(mapping, inline=_has_inline(mapping, sample))


_KINDS = {
    (True, False): "a text or number column",
    (True, True): "a column of lists, or of JSON text,",
}


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
            f"{_KINDS[TEXT in types, 'list' in types]} is needed"
        )
    return column


def _apply(
    rule: _Rule, text: Sequence[str], strings: Sequence[str], exact: bool
) -> PairMapping | None:
    def find(name: str, among: Sequence[str]) -> str | None:
        if exact:
            return name if name in among else None
        return next((c for c in among if c.lower() == name), None)

    instruction, response = find(rule.instruction, text), find(rule.response, text)
    if instruction is None or response is None:
        return None
    # The optional input may be blank in the sample and filled in later rows.
    extra = find(rule.optional_input, strings) if rule.optional_input else None
    if extra is None:
        return PairMapping((instruction,), (response,))
    return PairMapping((instruction, extra), (response,), instruction_separator="\n")


def _choice(
    mapping: PairMapping,
    rule: str,
    text: Sequence[str],
    columns: Sequence[Column],
    sample: Sample,
) -> FieldChoice:
    mapping = _with_more(mapping, text, columns, sample)
    mapping = replace(mapping, inline=_has_inline(mapping, sample))
    unused = tuple(name for name in text if name not in mapping.columns)
    answer = next((name for name in unused if name.lower() in ("answer", "solution")), None)
    hint = ""
    if answer and mapping.response[0].lower() == "reasoning":
        question, steps = mapping.instruction[0], mapping.response[0]
        hint = (
            f"the column {answer!r} is not used; to put it after the reasoning: --fields "
            f"instruction={question},response={steps}+{answer}; to keep the two apart: --fields "
            f"instruction={question},reasoning={steps},response={answer}"
        )
    return FieldChoice(mapping, rule, unused, hint)


def _with_more(
    mapping: PairMapping, text: Sequence[str], columns: Sequence[Column], sample: Sample
) -> PairMapping:
    """Adds the columns of reasoning, system prompt and history, where the source has them."""
    free = [name for name in text if name not in mapping.columns]
    lower = {name.lower(): name for name in reversed(free)}
    thinking = next((lower[name] for name in reasoning.NAMES if name in lower), None)
    if any(name.lower() in reasoning.NAMES for name in mapping.response):
        thinking = None  # the guide's pair: the reasoning is the response
    system = next((lower[name] for name in SYSTEM_NAMES if name in lower), None)
    lists = {c.name.lower(): c.name for c in columns if c.type == "list" or c.name in free}
    history = lists.get("history")
    cells = [
        row.get(history) for row in sample if history and row.get(history) not in (None, "", [])
    ]
    if cells and not any(map(is_history, cells)):
        history = None  # such as a patient's history
    return replace(mapping, reasoning=thinking, system=system, history=history)


def _has_inline(mapping: PairMapping, sample: Sample) -> bool:
    if len(mapping.response) != 1 or mapping.reasoning:
        return False
    return any(reasoning.split(text).closed for text in _values(mapping.response[0], sample))


def _values(name: str, sample: Sample) -> list[str]:
    cells = (row.get(name) for row in sample)
    return [cell for cell in cells if isinstance(cell, str) and cell.strip()]


def _has_text(name: str, sample: Sample) -> bool:
    # A column that is blank in the whole sample would reject every row.
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
        return False  # an enumeration
    return sum(map(_reads_as_prose, values)) * 2 >= len(values)


def _reads_as_prose(value: str) -> bool:
    start = value[:400]
    if _ADDRESS.fullmatch(start):
        return False
    # Scripts without spaces between words: four characters are about three words.
    if len(_CJK.findall(start[:200])) >= 4:
        return True
    words = start.split()
    return len(words) >= 3 and not all(map(_DATE_WORD.fullmatch, words))
