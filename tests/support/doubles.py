"""Tests of the test doubles run when a double's files have changed since they last passed.

A whole run that passes leaves a file in the cache folder that is named for the digest of those
files; the next run deselects what is marked ``doubles``.  A fresh cache runs them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from environments import cache_folder

_FILES = ("hub.py", "s3_servers.py", "test_hub.py", "test_s3_servers.py")


def _passed() -> Path:
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return cache_folder() / f"doubles-{digest.hexdigest()[:16]}.passed"


def _is_whole(config: pytest.Config) -> bool:
    """Is this run neither of chosen files, nor of chosen tests, nor nightly?"""
    usual = config.getini("addopts")
    chosen = config.getoption("keyword") or config.getoption("markexpr") not in usual
    return not chosen and config.args == config.getini("testpaths")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _is_whole(config) and _passed().exists():
        gone = [item for item in items if item.get_closest_marker("doubles")]
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in gone]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == 0 and _is_whole(session.config) and not hasattr(session.config, "workerinput"):
        _passed().parent.mkdir(parents=True, exist_ok=True)
        _passed().touch()
