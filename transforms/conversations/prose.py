"""What cells say of a column without a known name: does it hold prose, and does that ask?

These rules only ever support a guess, which is announced (see ``detect_pairs``).  In doubt they
say no.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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

QUESTION_MARKS = ("?", "？", "؟", "՞")  # noqa: RUF001 (full width, Arabic, Armenian)

INSTRUCTION_WORDS = frozenset(
    """
    who what when where which why how whose whom is are was were do does did can could will would
    should may
    add analyse analyze answer arrange brainstorm build calculate categorize change choose cite
    classify combine compare complete compose compute construct continue convert correct count
    create debug decide deduce define delete derive describe design detect determine develop discuss
    draft draw edit elaborate estimate evaluate examine expand explain express extract fill find fix
    formulate generate give guess help identify implement imagine improve infer interpret invent
    list make match modify name outline paraphrase parse plan predict prepare produce program prove
    provide propose rank rate recommend refactor rephrase replace reply respond rewrite say select
    shorten show simplify solve sort speak state suggest summarise summarize tell think transform
    translate turn use verify write please
    """.split()  # noqa: SIM905 (a list of words, to be read as one)
)
"""First words of English questions and instructions; the verbs that Alpaca's instructions begin
with most often are among them."""

_WORD = re.compile(r"\w+(?:['’]\w+)?")  # noqa: RUF001 (a typographic apostrophe)


def is_prose(values: Sequence[str]) -> bool:
    """Do the filled cells of a column hold sentences, not ids, labels, dates or addresses?"""
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


def asks(values: Sequence[str]) -> bool:
    """Are most of the filled cells a question or an instruction?

    A cell is one if it ends with a question mark, or begins with one of ``INSTRUCTION_WORDS``.
    """
    return bool(values) and sum(map(_asks, values)) * 2 > len(values)


def _asks(value: str) -> bool:
    text = value.strip().rstrip("\"'”’)» ")  # noqa: RUF001 (typographic quotes)
    if text.endswith(QUESTION_MARKS):
        return True
    first = _WORD.search(text[:100])
    return first is not None and first.group().casefold() in INSTRUCTION_WORDS
