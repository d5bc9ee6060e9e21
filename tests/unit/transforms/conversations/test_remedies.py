"""Every reject code has a remedy, and the flags that a remedy names keep the row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_runs import lines
from conversions import Convert
from hypothesis import given
from hypothesis import strategies as st
from means import REPOSITORY
from remedy_cases import CASES, Case
from remedy_runs import check_case

from pipeline.planning.preview import PreviewedReject, first_rejects
from transforms.conversations.remedies import REMEDIES, name_in, named_excerpt, remedy_of

MAKERS = {"InvalidConversation", "Fault", "Reject", "mark", "_rejects"}
"""What makes a reject of a code."""

CODE = re.compile(r"[a-z]+(-[a-z]+)+")
FLAG = re.compile(r"--[a-z][a-z-]*")


def _codes_in(path: Path) -> Iterator[str]:
    """The codes of a module: constants, by name or as they stand, that a maker is called with."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
            for argument in node.args:
                for inner in ast.walk(argument):
                    value = inner.value if isinstance(inner, ast.Constant) else None
                    if isinstance(inner, ast.Name):
                        value = names.get(inner.id)
                    if isinstance(value, str) and CODE.fullmatch(value):
                        yield value


def test_every_code_of_the_source_has_a_remedy() -> None:
    found = {code for path in (REPOSITORY / "transforms").rglob("*.py") for code in _codes_in(path)}
    assert {"unknown-role", "broken-json", "control-token", "too-many-tokens"} <= found
    assert found <= REMEDIES.keys()


def test_every_code_of_the_documentation_has_a_remedy_and_the_other_way_round() -> None:
    page = (REPOSITORY / "docs" / "columns.md").read_text(encoding="utf-8")
    table = page.partition("## Rejected rows")[2]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    named = {code for line in rows for code in re.findall(r"`([^`]+)`", line.split("|")[1])}
    patterns = [code.removesuffix("…") for code in named if code.endswith("…")]
    codes = named - {f"{pattern}…" for pattern in patterns}
    assert codes <= REMEDIES.keys()
    rest = REMEDIES.keys() - codes
    assert not [code for code in rest if not code.startswith(tuple(patterns))]


def test_a_remedy_is_the_end_of_a_sentence() -> None:
    for code, remedy in REMEDIES.items():
        assert CODE.fullmatch(code)
        assert remedy[0].islower() and not remedy.endswith((".", " ")), code


def test_each_flag_of_a_remedy_is_tried() -> None:
    tried = {(case.code, case.named.split()[0]) for case in CASES}
    # A column that the sample lacks, and CSV files, are for the tests of the readers.
    elsewhere = {
        ("unplanned-column", "--fields"),
        ("stray-quote", "--quotes"),
        ("unclear-backslash", "--quotes"),
        ("invalid-unicode", "--encoding"),
    }
    named = {(code, flag) for code, text in REMEDIES.items() for flag in FLAG.findall(text)}
    assert named - tried - elsewhere == set()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not case.sandbox],
    ids=lambda case: f"{case.code} {' '.join(case.cure) or 'without'}",
)
def test_the_flags_of_a_remedy_keep_the_row(
    case: Case, convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_case(case, convert, tmp_path, monkeypatch)


class TestUnknownRoles:
    def test_the_remedy_names_what_was_seen(self) -> None:
        assert remedy_of("unknown-role", ["'bing'", "'x y'"]) == (
            "map 'bing', 'x y', for example with --role bing=assistant "
            "(or user, system, tool, function_call)"
        )
        assert "--role 'x y=assistant'" in remedy_of("unknown-role", ["'x y'"])
        assert "--role None=assistant" in remedy_of("unknown-role", ["None"])
        many = remedy_of("unknown-role", [repr(f"n{i}") for i in range(9)])
        assert "'n4', …" in many and "'n5'" not in many

    @given(name=st.text(max_size=40) | st.none() | st.integers(), rest=st.text(max_size=20))
    def test_the_excerpt_begins_with_the_name(self, name: object, rest: str) -> None:
        excerpt = named_excerpt(name, '{"a": "' + rest)
        if ": {" not in repr(name):
            assert name_in("unknown-role", excerpt) == repr(name)
        assert name_in("empty-turn", excerpt) is None

    def test_a_hostile_name_is_quoted(self) -> None:
        excerpt = named_excerpt("\x1b]52;c;x\x07\u202e", "{}")
        assert excerpt.isprintable()
        reject = PreviewedReject("a", 1, "unknown-role", excerpt)
        assert reject.remedy.isprintable()

    def test_a_row_shows_its_name(self, convert: Convert, tmp_path: Path) -> None:
        rows = [{"messages": [{"role": "user", "content": "a"}, {"role": name, "content": "b"}]}
                for name in ("assistant", "bing", None, 5)]  # fmt: skip
        plan = convert("--dataset", lines(tmp_path / "a.jsonl", *rows)).plan
        found = first_rejects(plan, 9)
        assert [reject.excerpt.partition(": {")[0] for reject in found] == [
            "role 'bing'", "role None", "role 5",
        ]  # fmt: skip
        assert "--role bing=assistant" in found[0].remedy


def test_an_unknown_code_has_none() -> None:
    assert remedy_of("of-an-older-set") == ""
