"""Prism, Beam's small portable runner: a job server with workers on this machine alone."""

from __future__ import annotations

import pytest
from environments import go_program


@pytest.fixture(scope="session")
def prism() -> tuple[str, ...]:
    """The options for Beam that run a job on it; whoever runs one starts it and stops it."""
    return ("--runner=PrismRunner", f"--prism_location={go_program('prism')}")
