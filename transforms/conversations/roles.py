"""The role rule: maps a data set's names of speakers to four roles.

Official templates silently render an unknown role as nothing.  So names are mapped before
rendering, and a row with an unknown name is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transforms.errors import UsageError

ROLES = ("system", "user", "assistant", "tool")

FUNCTION_CALL = "function_call"
"""Not a role: an assistant's turn whose text is a tool call as JSON."""

ALIASES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "question": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "answer": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "function_response": "tool",
    "function_result": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "tool_output": "tool",
    "function_call": FUNCTION_CALL,
    "tool_call": FUNCTION_CALL,
    "tool_calls": FUNCTION_CALL,
}
"""Names in lower case, stripped -> role; ``--role NAME=ROLE`` adds to it."""


def role_table(more: Sequence[str]) -> dict[str, str]:
    """``ALIASES``, changed by ``--role`` values such as ``narrator=user``.

    Raises:
        UsageError: a value has another form.
    """
    table = dict(ALIASES)
    for flag in more:
        name, equals, role = flag.partition("=")
        if not equals or not name.strip() or role.strip() not in (*ROLES, FUNCTION_CALL):
            raise UsageError(
                f"--role {flag!r} is not of the form NAME=ROLE, where ROLE is one of "
                f"{', '.join((*ROLES, FUNCTION_CALL))}"
            )
        table[fold(name)] = role.strip()
    return table


def fold(name: str) -> str:
    """A role's name as a key of the table."""
    return name.strip().lower()


def role_of(name: object, table: Mapping[str, str]) -> str | None:
    """The role of a name; None for an unknown name.

    A number counts as its digits, and a turn without a role as ``None``, so that ``--role 0=user``
    and ``--role None=user`` name them.
    """
    if isinstance(name, str):
        return table.get(fold(name))
    return table.get(fold(str(name))) if name is None or isinstance(name, int) else None
