"""The page of options is what the declarations give."""

from __future__ import annotations

from means import REPOSITORY

from pipeline.cli.config_file import DECIDE_BYTES
from pipeline.cli.options_page import page


def test_the_page_in_docs_is_made_from_the_declarations() -> None:
    assert (REPOSITORY / "docs" / "options.md").read_text(encoding="utf-8") == page(), (
        "make it again: python -m pipeline.cli.options_page > docs/options.md"
    )


def test_the_page_marks_what_decides_the_bytes() -> None:
    marked = [line for line in page().splitlines() if line.startswith("|") and "●" in line]
    assert {line.split("`")[1].split()[0][2:] for line in marked} == DECIDE_BYTES
