"""One declaration of each option: a dataclass's field carries its flag, its help and its checks.

``Group.option`` declares a field.  Everything else is made from the declaration: the parser, the
reader and writer of configuration files and the page of options (``pipeline/cli``), the check of a
value, and the list of what a manifest's ``config`` may set.  A field whose type is a dataclass with
options, such as ``Request.s3``, brings these along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from transforms.errors import UsageError

T = TypeVar("T")

REQUIRED: Any = MISSING
"""The default of an option that has none."""

_METADATA = "option"
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list of texts",
}
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMG]?)(?:i?B)?", re.IGNORECASE)


@dataclass(frozen=True)
class Option:
    """An option: the arguments of ``Group.option``, and what the dataclass says of its field.

    Attributes:
        name: name of the field.
        kind: ``str``, ``int``, ``float``, ``bool``, or ``tuple`` for a flag that can be repeated.
        several: a text, or a tuple of at least two; the flag takes one or more, and can be
            repeated.
        optional: None is a value, too.
        default: default of the field; ``MISSING`` if it is required.
    """

    help: str
    flag: str
    metavar: str
    group: Group
    choices: tuple[str, ...]
    default_text: str
    empty: str
    takes: str
    parse: Callable[[str], object] | None
    check: Callable[[Any], str] | None
    decides_bytes: bool
    saved: bool
    commands: tuple[str, ...]
    name: str = ""
    kind: type = str
    several: bool = False
    optional: bool = False
    default: object = None

    @property
    def key(self) -> str:
        """The flag without its dashes: the key in a configuration file."""
        return self.flag.lstrip("-")

    @property
    def required(self) -> bool:
        """Does the option have no default?"""
        return self.default is MISSING

    @property
    def is_positional(self) -> bool:
        """Is the option a value at its place, without a flag?"""
        return not self.flag.startswith("-")

    def is_of(self, command: str) -> bool:
        """Does a command have the option?"""
        return not self.commands or command in self.commands

    @property
    def shown_default(self) -> str:
        """The default in words."""
        if self.required:
            return "required"
        if self.is_switch:
            return "off"
        nothing = self.default is None or self.default is False or self.default == ()
        return self.default_text or ("none" if nothing else str(self.default))

    @property
    def is_switch(self) -> bool:
        """Is the flag given without a value?"""
        return self.kind is bool and not self.takes

    def from_file(self, value: object) -> object:
        """A value of a configuration file as the field holds it.

        Raises:
            UsageError: the value has the wrong type; the message begins with the key.
        """
        if isinstance(value, str) and self.parse is not None:
            value = self.parse(value)
        elif isinstance(value, int) and not isinstance(value, bool) and self.kind is float:
            try:
                value = float(value)
            except OverflowError as error:
                raise UsageError(
                    f"{self.key} must be a number that a float can hold, found a larger one"
                ) from error
        elif isinstance(value, list) and (self.kind is tuple or self.several):
            value = self.from_list(value)
        if problem := self._type_problem(value):
            shown = list(value) if isinstance(value, tuple) else value
            raise UsageError(f"{self.key} {problem}, found {shown!r}")
        return value

    def from_list(self, values: Sequence[str]) -> object:
        """Values of a list, as the field holds them."""
        return values[0] if self.several and len(values) == 1 else tuple(values)

    def to_file(self, value: object) -> object:
        """A value of the field as a configuration file holds it."""
        if isinstance(value, tuple):
            return list(value)
        return self.empty if value == "" and self.empty else value

    def problem(self, value: object) -> str:
        """What a value must be instead; "" if it is right."""
        if value is None and self.optional:
            return ""
        problem = self._type_problem(value)
        if not problem and self.choices and value not in self.choices:
            listed = ", ".join(self.choices)
            both = " or ".join(self.choices)
            problem = f"must be {both if len(self.choices) == 2 else f'one of {listed}'}"
        if not problem and self.check is not None:
            problem = self.check(value)
        return problem

    def _type_problem(self, value: object) -> str:
        if self.kind is tuple or (self.several and isinstance(value, tuple)):
            texts = [*value] if isinstance(value, tuple | list) else [None]
            right = all(isinstance(text, str) for text in texts) and bool(texts or not self.several)
        else:
            texts = [value]
            right = isinstance(value, (int, float) if self.kind is float else self.kind)
            right = right and (self.kind is bool or not isinstance(value, bool))
        if not right:
            return f"must be {_KINDS[self.kind]}"
        # A command line may hold bytes that are not UTF-8; they arrive as lone surrogates.
        if any("\ud800" <= c <= "\udfff" for text in texts for c in str(text)):
            return "must be valid text (UTF-8)"
        return ""


@dataclass(frozen=True)
class Group:
    """A heading of the help and of the page of options, with the options below it.

    Attributes:
        title: the heading; "" for none.
        text: what the heading says of them.
        decides_bytes: the bytes of a set depend on each of the options.
        gate: each is a limit that a set must meet, which the verdicts of a manifest hold.
    """

    title: str
    text: str = ""
    decides_bytes: bool = False
    gate: bool = False

    def option(
        self,
        default: T,
        help: str,
        *,
        flag: str = "",
        metavar: str = "",
        choices: tuple[str, ...] = (),
        default_text: str = "",
        empty: str = "",
        takes: str = "",
        parse: Callable[[str], object] | None = None,
        check: Callable[[Any], str] | None = None,
        decides_bytes: bool = False,
        saved: bool = True,
        commands: tuple[str, ...] = (),
    ) -> T:
        """Declares a dataclass's field as an option; its type comes from the field's annotation.

        Args:
            default: default of the field, or ``REQUIRED``.
            help: what the flag does, without its default.
            flag: by default the field's name with dashes; a name without dashes is positional.
            metavar: what the flag takes, for the help; by default the choices, or the key.
            choices: all texts that are valid.
            default_text: the default in words, where the value does not say it.
            empty: the word that stands for the empty text on the command line and in files.
            takes: name of another field whose value this flag takes; the field itself becomes True.
            parse: makes a value of text, where the type alone does not.
            check: says what a value must be instead, "must be …"; "" if it is right.
            decides_bytes: the bytes of a set depend on it, as in some groups on every option.
            saved: a configuration file may hold it.
            commands: the commands that have it; by default all that have the dataclass.
        """
        declared = Option(
            help, flag, metavar, self, choices, default_text, empty, takes, parse, check,
            decides_bytes or self.decides_bytes, saved, commands,
        )  # fmt: skip
        if default is MISSING:
            return cast(T, field(metadata={_METADATA: declared}))
        return field(default=default, metadata={_METADATA: declared})


UNGROUPED = Group("")
option = UNGROUPED.option
"""Declares an option without a heading."""


def own_options(declared: type) -> tuple[Option, ...]:
    """The options that a dataclass itself declares, in the order of its fields."""
    types = get_type_hints(declared)
    found = []
    for one in fields(declared):
        if (given := one.metadata.get(_METADATA)) is not None:
            flag = given.flag or f"--{one.name.replace('_', '-')}"
            empty = given.parse or (lambda text, word=given.empty: "" if text == word else text)
            kind, several, optional = _kind(types[one.name])
            found.append(
                replace(
                    given,
                    name=one.name,
                    flag=flag,
                    metavar=given.metavar or "|".join(given.choices) or flag.lstrip("-").upper(),
                    parse=empty if given.empty else given.parse,
                    kind=kind,
                    several=several,
                    optional=optional,
                    default=one.default,
                )
            )
    return tuple(found)


def options_of(declared: type) -> tuple[Option, ...]:
    """The options of a dataclass and of the dataclasses that are its fields."""
    return own_options(declared) + tuple(
        one for _, inner in _inner(declared) for one in options_of(inner)
    )


def build(declared: type[T], values: Mapping[str, object], **more: object) -> T:
    """A dataclass from the values of its options.

    Args:
        declared: the dataclass.
        values: values by key (``val-size``); what is absent takes its default.
        more: values of fields that are no options, by name.

    Raises:
        UsageError: a value is wrong, or two flags give one field two values.
    """
    options = {one.name: one for one in own_options(declared)}
    given = {name: values[one.key] for name, one in options.items() if one.key in values}
    for name, one in options.items():
        if one.takes and name in given:
            value, other = given[name], options[one.takes]
            if given.get(other.name, value) != value:
                raise UsageError(
                    f"{one.flag} {value} and {other.flag} {given[other.name]} are two places; give "
                    f"only {one.flag}"
                )
            given.update({name: True, other.name: value})
    for name, inner in _inner(declared):
        given[name] = build(inner, values)
    return declared(**given, **more)


def check_options(instance: object) -> None:
    """Checks the type, the choices and the range of every option that an instance itself holds.

    Raises:
        UsageError: a value is wrong; the message names the flag, what it must be, and the value.
    """
    for one in own_options(type(instance)):
        value = getattr(instance, one.name)
        if problem := one.problem(value):
            raise UsageError(f"{one.flag} {problem}, found {value!r}")


def between(low: float, high: float) -> Callable[[float], str]:
    """A check of numbers; NaN is never right."""
    return lambda value: "" if low <= value <= high else f"must be between {low} and {high}"


def at_least(low: int) -> Callable[[int], str]:
    """A check of numbers."""
    return lambda value: "" if value >= low else f"must be at least {low}"


def parse_size(text: str) -> int:
    """Bytes of a size such as ``64MiB``, ``1G`` or ``500000``; K, M, G are powers of 1,024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no size; expected for example 64MiB")
    power = " KMG".index(found["unit"].upper() or " ")
    try:
        return int(float(found["number"]) * 1024**power)
    except OverflowError as error:
        raise UsageError(f"the size {text[:20]}… is too large") from error


def _inner(declared: type) -> list[tuple[str, type]]:
    """(field, dataclass) of the fields that bring options of their own."""
    types = get_type_hints(declared)
    return [
        (one.name, types[one.name])
        for one in fields(declared)
        if is_dataclass(types[one.name]) and own_options(types[one.name])
    ]


def _kind(annotation: Any) -> tuple[type, bool, bool]:
    """(type, can there be several, can it be None) of an annotation.

    Such as ``int | None``, ``tuple[str, ...]`` or ``str | tuple[str, ...]``.
    """
    if get_origin(annotation) is tuple:
        return tuple, False, False
    kinds = [one for one in get_args(annotation) or (annotation,) if one is not NoneType]
    kind, *more = kinds
    if more:
        return kind, get_origin(more[0]) is tuple, False
    if kind not in _KINDS:
        raise TypeError(f"{annotation} is no type of an option; expected one of {list(_KINDS)}")
    return kind, False, kind is not annotation
