"""What a laptop may lack but CI may not, and where the checkout lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

ON_CI = os.environ.get("CI") == "true"
REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "pipeline" / "sample" / "reasoning.jsonl"
GOLDEN = REPOSITORY / "tests" / "golden"
PROPERTY_EXAMPLES = 50
"""How many examples a property is tried with in the profile ``ci``."""


def examples(count: int) -> settings:
    """So many examples in the profile ``ci``, and as many times more in another as it tries."""
    return settings(max_examples=count * settings().max_examples // PROPERTY_EXAMPLES)


def absent(reason: str) -> NoReturn:
    """Ends a test whose means are missing: skipped on a laptop, failed in CI."""
    if ON_CI:
        pytest.fail(f"{reason} (CI=true: nothing may be skipped)")
    pytest.skip(reason)
