"""The unit tier starts no Beam runner, opens no connection and starts no process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def unit_tier(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test that leaves this process, also where the code under test hides the error."""
    attempts: list[str] = []

    def refuse(what: str) -> NoReturn:
        attempts.append(what)
        raise ConnectionRefusedError(f"a unit test may not {what}; move it to tests/pipeline")

    monkeypatch.setattr(socket.socket, "connect", lambda _, to: refuse(f"connect to {to}"))
    monkeypatch.setattr(socket.socket, "bind", lambda _, to: refuse(f"listen at {to}"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: refuse(f"look up {host}"))
    monkeypatch.setattr(subprocess, "Popen", lambda words, *_, **__: refuse(f"start {words}"))
    monkeypatch.setattr(os, "fork", lambda: refuse("fork"))
    if "apache_beam" in sys.modules:
        pipeline = sys.modules["apache_beam"].Pipeline
        monkeypatch.setattr(pipeline, "run", lambda *_, **__: refuse("run a Beam pipeline"))
    yield
    assert attempts == []
