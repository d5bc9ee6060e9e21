"""ONE table of reject codes and their remedies: what a user does about a rejected row.

The error of a run, the console after a run and ``preview --rejected`` print them.  Plain data, for
all steps that reject rows; a new code is a new line here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

_TURN = '{"role": "user" or "assistant", "content": TEXT}'
_FIELDS = "--fields instruction=COLUMN,response=COLUMN"
_MISSING = {"null": "missing", "empty": "empty", "blank": "white space only"}

REMEDIES: Mapping[str, str] = {
    # readers
    "broken-json": "correct the line, which must be one complete JSON value",
    "not-an-object": 'write the row as a JSON object, such as {"prompt": TEXT, "completion": TEXT}',
    "ragged-row": "correct the quotes and separators of the row, or convert the file to JSON Lines",
    "wrong-type": "write the value with the type that its column has in the first rows",
    "stray-quote": 'write quotes inside of quoted cells twice (""), or read them as text with '
    "--quotes none",
    "unclear-backslash": "say what backslashes mean with --quotes backslash, or write quotes "
    'inside of quoted cells twice ("")',
    "unnamed-cell": "name the column of the cell in the header, or empty the cell",
    "invalid-unicode": "write the file again as UTF-8, or name the encoding of CSV files with "
    "--encoding",
    "row-too-large": "split the row, or leave it out: a row has at most 64 MiB",
    "unplanned-column": "name the column in --fields, also where the first rows lack it",
    # pairs
    **{
        f"{kind}-{field}": f"fill the column of the {field}, which is {what}, or choose other "
        f"columns with {_FIELDS}"
        for kind, what in _MISSING.items()
        for field in ("instruction", "response")
    },
    **{
        f"{kind}-split-key": f"fill the column of --split-key, which is {what}, or choose another"
        for kind, what in _MISSING.items()
    },
    "several-answers": "take the first of each list with --list-answers first",
    "response-not-json": "omit --unpack-json, or correct the response",
    "bad-history": "write the history as a list of [question, answer] pairs, or leave it out with "
    f"{_FIELDS}",
    # conversations
    "null-messages": "fill the column of turns, or choose another with --fields messages=COLUMN",
    "empty-messages": "leave rows without turns out of the source",
    "not-a-conversation": f"write the conversation as a list of {_TURN}, or choose another column "
    "with --fields messages=COLUMN",
    "not-text": "write the text as a string, or as parts of the type text; numbers, objects, "
    "images and sounds are not read",
    "unknown-role": "map the name with --role NAME=ROLE, where ROLE is user, assistant, system, "
    "tool or function_call",
    "empty-turn": "fill the turn, or remove it from the source",
    "no-assistant-turn": "add an answer; if the assistant has another name, map it with --role "
    "NAME=assistant",
    "starts-with-assistant": "accept such conversations with --assistant-first",
    "same-role-twice": "join neighbouring turns of one role with --same-role merge",
    **{
        f"ends-with-{role}": "remove the turns after the last answer with --ends-with-user trim"
        for role in ("user", "tool", "system")
    },
    "bad-tool-calls": 'write a call as {"name": NAME, "arguments": OBJECT}, with the arguments as '
    "an object or as JSON text of one",
    "bad-tools": 'write the tools as a list of {"name": NAME, "parameters": OBJECT}, or omit '
    "--tools",
    "marked-untrained": "train on such rows all the same with --ignore-training-marks",
    "two-conversations": "choose one column with --fields messages=COLUMN",
    "bad-transcript": "correct the text, which must begin with the marker of a turn",
    # templates
    "tools-not-in-template": "choose a template that has a form for tools, such as --template "
    "chatml",
    "calls-not-in-columns": "use --columns text, which has a place for the calls",
    "system-not-first": "choose a template that allows later system turns, such as --template "
    "chatml",
    "roles-must-alternate": "choose a template that allows it, such as --template chatml",
    "control-token": "split the token with --control-tokens escape, or leave it as it is with "
    "--control-tokens keep",
    "template-refused": "correct the row as the template asks, or choose another --template",
    "turn-dropped": "choose a template that renders every turn, such as --template chatml",
    "prompt-not-found": "use --columns text or --columns messages, which need no end of the prompt",
    # limits
    "benchmark-overlap": "omit --contaminated drop to keep such rows",
    "too-many-tokens": "raise --max-tokens, or cut the answer with --too-long truncate-response",
    "prompt-too-long": "raise --max-tokens, so that a part of the answer fits",
}
"""Reject code -> what to do, as the end of a sentence; flags stand as they are typed."""

UNKNOWN_ROLE = "unknown-role"

_NAMED = re.compile(r"role (.{1,500}?): \{")
_MOST_NAMES = 5
_NAME_CHARS = 40


def remedy_of(code: str, names: Iterable[str] = ()) -> str:
    """The remedy of a code; "" for a code that the table lacks, as one of an older set.

    Args:
        code: A reject code.
        names: Of ``unknown-role``, the names that were seen, quoted as ``repr`` does.
    """
    names = list(names)
    if code != UNKNOWN_ROLE or not names:
        return REMEDIES.get(code, "")
    shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    flag = "--role " + shlex.quote(f"{_unquoted(names[0])}=assistant")
    return f"map {shown}, for example with {flag} (or user, system, tool, function_call)"


def named_excerpt(name: object, excerpt: str) -> str:
    """The excerpt of a row with an unknown role, with its name in front."""
    return f"role {(name[:_NAME_CHARS] if isinstance(name, str) else name)!r}: {excerpt}"


def name_in(code: str, excerpt: str) -> str | None:
    """The name that ``named_excerpt`` put in front, as ``repr`` quotes it."""
    found = _NAMED.match(excerpt) if code == UNKNOWN_ROLE else None
    return found[1] if found else None


def _unquoted(name: str) -> str:
    """A name as a user types it; one with control characters stays as ``repr`` writes it."""
    return name[1:-1] if name[:1] in "'\"" else name
