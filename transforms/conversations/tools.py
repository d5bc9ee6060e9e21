"""Tool calls and lists of tools, in one form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transforms.conversations.cells import InvalidConversation, parsed


def tool_calls(value: Any) -> str | None:
    """Tool calls in one form, None for none.

    Args:
        value: a call or a list of calls, as objects or as JSON text.  Arguments stay as they are:
            an object, or JSON text of one.

    Raises:
        InvalidConversation: these are not tool calls.
    """
    if isinstance(value, str):
        value = parsed(value) if value.strip() else None
    if value is None or value in ([], {}) or _is_blank(value):
        return None
    made = []
    for item in value if isinstance(value, list) else [value]:
        call = _function(item)
        if call is None:
            raise InvalidConversation("bad-tool-calls")
        arguments = call.get("arguments")
        arguments = call.get("parameters") if arguments is None else arguments
        arguments = {} if arguments is None else arguments
        decoded = parsed(arguments) if isinstance(arguments, str) else arguments
        if not isinstance(decoded, Mapping):
            raise InvalidConversation("bad-tool-calls")
        if decoded is not arguments:
            _dumps(decoded, "bad-tool-calls")
        made.append(
            {"type": "function", "function": {"name": call["name"], "arguments": arguments}}
        )
    return _dumps(made, "bad-tool-calls")


def _dumps(value: object, code: str) -> str:
    """JSON text; ``InvalidConversation`` where JSON has no form for the value.

    Python also reads and writes NaN, which JSON lacks.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidConversation(code) from error


def _is_blank(value: object) -> bool:
    """Is the value an object of nulls, as a table gives it to the turns without a call?"""
    return isinstance(value, Mapping) and all(item is None for item in value.values())


def tool_list(value: Any) -> str | None:
    """The tools that a row offers, each {"type": "function", "function": …}; None for none.

    Args:
        value: a list of tools, as objects or as JSON text, with or without the outer object.

    Raises:
        InvalidConversation: this is not a list of tools.
    """
    if isinstance(value, str):
        if not value.strip():
            return None
        value = parsed(value)
    if value is None:
        return None
    if not isinstance(value, list):
        raise InvalidConversation("bad-tools")
    made = []
    for item in value:
        if isinstance(item, str):
            item = parsed(item)
        tool = _function(item)
        if tool is None:
            raise InvalidConversation("bad-tools")
        made.append({"type": "function", "function": dict(tool)})
    return _dumps(made, "bad-tools") if made else None


def _function(item: object) -> Mapping[str, object] | None:
    """A call or a tool without the outer {"type": "function", "function": …}, or None."""
    if not isinstance(item, Mapping):
        return None
    function = item.get("function")
    function = item if function is None else function
    named = isinstance(function, Mapping) and isinstance(function.get("name"), str)
    return function if named and function["name"].strip() else None
