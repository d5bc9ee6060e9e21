"""Declarations of options: types, checks, values of files, and dataclasses made from values."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from transforms.declaration import (
    REQUIRED,
    Option,
    at_least,
    between,
    build,
    check_options,
    option,
    options_of,
    own_options,
    parse_size,
)
from transforms.errors import UsageError


@dataclass(frozen=True)
class Inner:
    name: str | None = option(None, "a name", flag="--inner-name")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Outer:
    place: str = option(REQUIRED, "a place", flag="PLACE")
    share: float = option(0.5, "a share", check=between(0, 1), decides_bytes=True)
    count: int | None = option(None, "a count", check=at_least(1), default_text="all")
    size: int = option(7, "a size", parse=parse_size)
    kind: str = option("one", "a kind", choices=("one", "two", "three"))
    prompt: str | None = option(None, "a prompt", empty="none")
    names: tuple[str, ...] = option((), "names", flag="--name")
    quick: bool = option(False, "be quick", commands=("run",))
    again: bool = option(False, "again", takes="place", metavar="PLACE", saved=False)
    inner: Inner = Inner()
    plain: int = 3

    def __post_init__(self) -> None:
        check_options(self)


OPTIONS: dict[str, Option] = {one.name: one for one in own_options(Outer)}


def test_what_is_not_said_follows_from_the_field() -> None:
    share, names, count = OPTIONS["share"], OPTIONS["names"], OPTIONS["count"]
    assert (share.flag, share.key, share.metavar) == ("--share", "share", "SHARE")
    assert (share.kind, share.optional, share.default) == (float, False, 0.5)
    assert (names.flag, names.kind, names.default) == ("--name", tuple, ())
    assert (count.kind, count.optional, count.shown_default) == (int, True, "all")
    assert OPTIONS["kind"].metavar == "one|two|three"
    assert [one.shown_default for one in (names, share)] == ["none", "0.5"]
    assert (OPTIONS["quick"].shown_default, OPTIONS["again"].shown_default) == ("off", "none")
    assert (OPTIONS["place"].shown_default, OPTIONS["place"].is_positional) == ("required", True)
    assert OPTIONS["quick"].is_switch and not OPTIONS["again"].is_switch
    assert OPTIONS["quick"].is_of("run") and not OPTIONS["quick"].is_of("walk")
    assert OPTIONS["share"].is_of("walk")


def test_the_options_of_inner_dataclasses_come_last() -> None:
    assert [one.flag for one in options_of(Outer)][-1] == "--inner-name"
    assert "inner" not in OPTIONS and "plain" not in OPTIONS


def test_values_make_a_dataclass() -> None:
    assert build(Outer, {"PLACE": "x"}) == Outer("x")
    values = {"PLACE": "x", "share": 0.1, "inner-name": "n", "name": ("a",)}
    assert build(Outer, values, plain=4) == Outer(
        "x", share=0.1, names=("a",), inner=Inner("n"), plain=4
    )


def test_a_flag_can_take_the_value_of_another_field() -> None:
    assert build(Outer, {"again": "x"}) == Outer("x", again=True)
    assert build(Outer, {"again": "x", "PLACE": "x"}) == Outer("x", again=True)
    with pytest.raises(UsageError, match="--again x and PLACE y are two places"):
        build(Outer, {"again": "x", "PLACE": "y"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("share", 2, "--share must be between 0 and 1, found 2"),
        ("share", float("nan"), "--share must be between 0 and 1, found nan"),
        ("share", True, "--share must be a number, found True"),
        ("share", None, "--share must be a number, found None"),
        ("count", 0, "--count must be at least 1, found 0"),
        ("count", "3", "--count must be a whole number, found '3'"),
        ("kind", "four", "--kind must be one of one, two, three, found 'four'"),
        ("name", "abc", "--name must be a list of texts, found 'abc'"),
        ("name", (1,), r"--name must be a list of texts, found \(1,\)"),
        ("quick", 1, "--quick must be true or false, found 1"),
        ("inner-name", 5, "--inner-name must be text, found 5"),
        ("PLACE", "\udcff", "PLACE must be valid text"),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(Outer, {"PLACE": "x", key: value})


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("share", 1, 1.0),
        ("size", "2KiB", 2048),
        ("size", 5, 5),
        ("names", ["a", "b"], ("a", "b")),
        ("prompt", "none", ""),
        ("prompt", "None", "None"),
        ("quick", True, True),
    ],
)
def test_values_of_a_file(name: str, value: object, held: object) -> None:
    found = OPTIONS[name].from_file(value)
    assert (found, type(found)) == (held, type(held))


def test_a_value_is_written_as_it_is_read() -> None:
    assert OPTIONS["prompt"].to_file("") == "none"
    assert OPTIONS["names"].to_file(("a",)) == ["a"]
    assert OPTIONS["share"].to_file(0.5) == 0.5


@pytest.mark.parametrize(("name", "value"), [("share", "1"), ("names", [1]), ("size", 1.5)])
def test_a_wrong_type_in_a_file_is_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{OPTIONS[name].key} must be "):
        OPTIONS[name].from_file(value)


def test_a_field_of_another_type_is_no_option() -> None:
    @dataclass
    class Wrong:
        places: bytes = option(b"", "bytes")

    with pytest.raises(TypeError, match="is no type of an option"):
        own_options(Wrong)


@pytest.mark.parametrize(
    ("text", "size"), [("64MiB", 2**26), ("1g", 2**30), ("1.5K", 1536), ("7", 7), ("2MB", 2**21)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
