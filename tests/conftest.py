"""What the tests share: parts that a laptop may lack but CI may not, and hypothesis' settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from means import ON_CI, PROPERTY_EXAMPLES, REPOSITORY, absent

# What these start runs once for all modules.
pytest_plugins = [
    *("s3_servers", "s3_runs", "clusters", "flink_page", "prism", "hub"),
    *("command_runs", "conversions", "source_files", "doubles"),
]

# No deadline: the machine is shared.  "ci" tries the same examples every time; "nightly" is random
# and tries ten times as many.  `--hypothesis-profile=nightly` chooses.
settings.register_profile("ci", deadline=None, derandomize=ON_CI, max_examples=PROPERTY_EXAMPLES)
settings.register_profile("nightly", deadline=None, max_examples=10 * PROPERTY_EXAMPLES)
settings.load_profile("ci")


def pytest_runtest_setup() -> None:
    # s3fs keeps one file system for all who ask alike, with the login of another test's user.
    if "s3fs" in sys.modules:
        sys.modules["s3fs"].S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """``shared_data("gsm8k/train.jsonl")``: a file of the real data beside the checkout."""

    def find(name: str) -> Path:
        path = REPOSITORY.parent / "shared" / "data" / name
        if not path.is_file():
            absent(f"needs ../shared/data/{name}, real data that is no part of the project")
        return path

    return find
