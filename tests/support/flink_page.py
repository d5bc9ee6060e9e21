"""A stand-in for a Flink's web page, as far as the launcher asks it; a real one takes a minute."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class FlinkPage:
    """Answers ``/overview`` and ``/jobs/overview``; ``address`` is what ``--flink_master`` takes.

    ``overview`` and ``jobs`` may be changed at any time; with a ``status`` or a ``text`` of its own
    it is no Flink.
    """

    def __init__(self) -> None:
        self.overview: Any = {"flink-version": "1.19.3", "slots-total": 6, "taskmanagers": 2}
        self.jobs: list[dict[str, Any]] = []
        self.status, self.text = 200, ""
        self.asked: list[str] = []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def add_job(self, name: str, jid: str, state: str, start: int) -> None:
        self.jobs.append({"name": name, "jid": jid, "state": state, "start-time": start})

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        known = {"/overview": self.overview, "/jobs/overview": {"jobs": self.jobs}}
        body = self.text or json.dumps(known.get(handler.path))
        handler.send_response(self.status if handler.path in known else 404)
        handler.end_headers()
        handler.wfile.write(body.encode())

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def flink_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlinkPage]:
    """A stand-in of its own for each test."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    page = FlinkPage()
    yield page
    page.stop()
