"""The documentation: links resolve, flags and make targets exist, each option is listed once.

The checks are functions of a text, so that each of them can be seen to fail.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from pipeline.cli import dataset_flags, flags

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPTIONS = ROOT / "docs" / "options.md"
PAGES = sorted(
    (README, ROOT / "CHANGELOG.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").glob("*.md"))
)
MOST_README_LINES = 180

OTHER_PROGRAMS = {
    "docker": ("--build", "--profile", "--rm", "--target", "--wait"),
    "kubectl": ("--from-env-file",),
    "Beam's job server": ("--spark-master-url",),
}
"""Flags of programs that the pages call, by program."""

# Options of the Java runners, which Beam's Python does not declare.
JOB_SERVER_OPTIONS = ("--execution_mode_for_batch", "--object_reuse", "--bundle_size")

_FENCE = re.compile(r"^(```|~~~).*?^\1[^\S\n]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[(?:[^\[\]]|\\.)*\]\(<?([^()\s>]+)>?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")
_TARGET = re.compile(r"`make ([a-z-]+)`|^make ([a-z-]+)", re.MULTILINE)
_LISTED = re.compile(r"^(?:\|\s*|#{1,6}\s+)`(--?[A-Za-z][\w-]*)", re.MULTILINE)


# ---- what is in a page


def links(text: str) -> list[str]:
    """The targets of the links in a page, outside of code."""
    return _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def dead_links(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead to no file, or to no heading in it."""
    local = (link for link in links(text) if not re.match(r"[a-z][a-z0-9+.-]*:", link))
    return [link for link in local if not _resolves(link, page, text)]


def _resolves(link: str, page: Path, text: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in anchors(text if target == page else target.read_text("utf-8"))


def unknown_flags(text: str) -> list[str]:
    """The flags in a page that no program has."""
    others = {flag for of_program in OTHER_PROGRAMS.values() for flag in of_program}
    known = {*own_flags(), *beam_flags(), *others}
    return sorted(set(_FLAG.findall(text)) - known)


def unknown_targets(text: str) -> list[str]:
    """The make targets in a page that the Makefile does not have."""
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = {one or other for one, other in _TARGET.findall(text)}
    return sorted(named - set(rules))


def readme_faults(text: str) -> list[str]:
    """What the README lacks, or has too much of."""
    faults = []
    if (count := len(text.splitlines())) > MOST_README_LINES:
        faults.append(f"{count} lines, more than {MOST_README_LINES}")
    shown = "\n".join(match[0] for match in _FENCE.finditer(text))
    for command in ("make run", "make test"):
        if not re.search(rf"^{command}\b(?!-)", shown, re.MULTILINE):
            faults.append(f"no block shows `{command}`")
    return faults


def listing_faults(text: str) -> list[str]:
    """The options that the page of options does not list exactly once.

    A heading or a row lists the option that its first code span begins with; the row of an option
    of another command can begin with that command's name.
    """
    found = Counter(_LISTED.findall(_FENCE.sub("", text)))
    faults = [f"{flag}: {found[flag]} times" for flag in options() if found[flag] != 1]
    return faults + [f"{flag}: no such option" for flag in found.keys() - own_flags()]


# ---- which flags there are


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of each command."""
    yield from map(flags.prepare_parser, flags.PREPARE_COMMANDS)
    yield from map(dataset_flags.dataset_parser, flags.DATASET_COMMANDS)


@cache
def options() -> list[str]:
    """Each option of the command line under its longest name, without ``--help``."""
    named = (action.option_strings for parser in parsers() for action in parser._actions)
    return list(dict.fromkeys(max(o, key=len) for o in named if o and "--help" not in o))


@cache
def own_flags() -> frozenset[str]:
    """All that the command line takes."""
    return frozenset(
        name for parser in parsers() for action in parser._actions for name in action.option_strings
    )


@cache
def beam_flags() -> frozenset[str]:
    """All that Beam takes."""
    from apache_beam.options.pipeline_options import PipelineOptions

    def all_below(base: type[PipelineOptions]) -> Iterator[type[PipelineOptions]]:
        for sub in base.__subclasses__():
            yield sub
            yield from all_below(sub)

    names = set(JOB_SERVER_OPTIONS)
    for one in all_below(PipelineOptions):
        parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
        if "_add_argparse_args" in vars(one):
            one._add_argparse_args(parser)
        names.update(name for action in parser._actions for name in action.option_strings)
    return frozenset(names)


# ---- the pages


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_and_anchors_resolve(page: Path) -> None:
    assert dead_links(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_flags_exist(page: Path) -> None:
    assert unknown_flags(page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_exist(page: Path) -> None:
    assert unknown_targets(page.read_text("utf-8")) == []


def test_the_readme_is_short_and_shows_both_commands() -> None:
    assert readme_faults(README.read_text("utf-8")) == []


def test_each_option_is_listed_once() -> None:
    assert listing_faults(OPTIONS.read_text("utf-8")) == []


def test_each_page_is_linked_from_the_readme() -> None:
    linked = {
        (ROOT / link.partition("#")[0]).resolve() for link in links(README.read_text("utf-8"))
    }
    assert [named(page) for page in PAGES if page != README and page not in linked] == []


# ---- the checks themselves


@pytest.mark.parametrize(
    "link",
    ["docs/nothing.md", "#no-such-heading", "docs/quality.md#no-such-heading", "../elsewhere.md"],
)
def test_a_dead_link_is_found(link: str) -> None:
    assert dead_links(README, f"# A heading\n\nSee [there]({link}).\n") == [link]


@pytest.mark.parametrize(
    "text",
    [
        "[up](#a-heading)",
        "[twice](#a-heading-1)",
        "[page](docs/quality.md#gates)",
        "[web](https://example.com/nothing)",
        "`[code](nothing.md)`",
        "```\n[block](nothing.md)\n```\n",
    ],
)
def test_a_link_that_leads_somewhere_is_fine(text: str) -> None:
    assert dead_links(README, f"# A heading\n\n{text}\n\n## A heading\n") == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Other commands on a set", "other-commands-on-a-set"),
        ("`--fields`", "--fields"),
        ("What's new, in 0.1?", "whats-new-in-01"),
        ("The [map](x.md) of `a_b`", "the-map-of-a_b"),
    ],
)
def test_anchors_are_those_of_github(heading: str, anchor: str) -> None:
    assert anchors(f"## {heading}\n\n```\n# no heading\n```\n") == {anchor}


def test_an_unknown_flag_is_found() -> None:
    text = "`--val-size 0.2`, `--flink_master=HOST`, `kubectl --from-env-file=x`, -- and ---\n"
    assert unknown_flags(text) == []
    wrong = f"{text}`--no-such-flag`, (--val_size)\n"
    assert unknown_flags(wrong) == ["--no-such-flag", "--val_size"]


def test_an_unknown_make_target_is_found() -> None:
    assert unknown_targets("`make run`\n\n```bash\nmake test   # tests\n```\n") == []
    assert unknown_targets("`make tea`\n\n```bash\nmake coffee\n```\n") == ["coffee", "tea"]


def test_a_long_readme_or_one_without_a_command_is_found() -> None:
    both = "```bash\nmake run\nmake test  # the tests\n```\n"
    assert readme_faults(both) == []
    assert readme_faults("make run and make test\n") == [
        "no block shows `make run`",
        "no block shows `make test`",
    ]
    assert readme_faults(both.replace("make test ", "make test-nightly ")) == [
        "no block shows `make test`"
    ]
    assert readme_faults(both + "\n" * MOST_README_LINES) == ["184 lines, more than 180"]


def test_an_option_that_is_missing_or_repeated_or_gone_is_found() -> None:
    rows = [f"| `{flag} VALUE` | what it does |\n" for flag in options()]
    good = "".join(rows)
    assert listing_faults(good) == []
    assert listing_faults("".join(f"### `{flag}`\n" for flag in options())) == []
    assert listing_faults(good.replace("| `--seed ", "| `prepare --seed ")) == ["--seed: 0 times"]
    assert listing_faults(f"{good}### `--seed`\n") == ["--seed: 2 times"]
    assert listing_faults(f"{good}| `--tea` | |\n") == ["--tea: no such option"]
