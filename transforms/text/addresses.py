"""Addresses as messages show them: without a user, a password or a token.

A user and password stand before an ``@``, a token in a query or a fragment (RFC 3986, section 3).
People type them in many forms, so whatever could be one stays out.
"""

from __future__ import annotations

import re

HIDDEN = "…"
"""Stands for what is not shown."""

_SCHEME = re.compile(r"^\s*[A-Za-z][A-Za-z0-9+.-]*:[/\\]{1,2}")
_ANYWHERE = re.compile(r"(?<=:[/\\][/\\])[^\s'\"/\\]*@")
_PASSWORD = re.compile(r"[^/\\\s]*:[^\s]*@")
_IN_ERRORS = re.compile(r"[^/\\\s'\"]*:[^/\\\s'\"]*@")
_TOKEN = re.compile(r"([?#]).+", re.DOTALL)


def shown_address(given: str, is_address: bool = False) -> str:
    """What a user typed, without secrets.

    Args:
        given: an address, or a name or path that was expected to be one or not.
        is_address: it was meant as an address of a server, also if it has no scheme.
    """
    scheme = _SCHEME.match(given)
    if scheme is None and not is_address:
        return _PASSWORD.sub(f"{HIDDEN}@", given)
    start = scheme[0] if scheme else ""
    rest = given[len(start) :]
    authority = re.split(r"[/\\]", rest, maxsplit=1)[0]
    _, at, after = rest.rpartition("@")
    if at and ("@" in authority or ":" in rest[: -len(after) - 1] or is_address):
        rest = f"{HIDDEN}@{after}"
    return start + _TOKEN.sub(rf"\1{HIDDEN}", rest)


def without_passwords(text: str) -> str:
    """A message in which the addresses of servers have no user and password."""
    return _ANYWHERE.sub(f"{HIDDEN}@", text)


def without_credentials(message: str) -> str:
    """An error in which nothing has the form of a user and password, also without an address."""
    return _IN_ERRORS.sub(f"{HIDDEN}@", without_passwords(message))
