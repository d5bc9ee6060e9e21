"""What a laptop may lack but CI may not, and where the checkout lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ON_CI = os.environ.get("CI") == "true"
REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"
GOLDEN = REPOSITORY / "tests" / "golden"


def absent(reason: str) -> NoReturn:
    """Ends a test whose means are missing: skipped on a laptop, failed in CI."""
    if ON_CI:
        pytest.fail(f"{reason} (CI=true: nothing may be skipped)")
    pytest.skip(reason)
