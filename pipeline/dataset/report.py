"""The report on a finished set, made again from its manifest and rows; it never writes into a set.

For a set that the job made the page is, byte for byte, the set's own ``report.html``.
"""

from __future__ import annotations

import os
import re
import tempfile
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.verify import begin
from transforms.errors import StorageError, UsageError, VerificationFailed
from transforms.report.elements import plain
from transforms.report.headline import Headline, headlines
from transforms.report.page import BEGINNING, page
from transforms.storage.manifest import Manifest
from transforms.storage.names import DATASET_DICT, MANIFEST
from transforms.storage.reader import open_dataset
from transforms.storage.s3.uri import S3Options, is_s3

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Made:
    """A page on the set called ``name``, with its manifest; ``figures`` are the headlines."""

    name: str
    page: bytes
    manifest: Manifest
    figures: dict[str, str]


def make(address: str, options: S3Options) -> Made:
    """The page on the set at a local path or an ``s3://`` address.

    Raises ``UsageError`` where there is none, ``VerificationFailed`` where it is damaged.
    """
    place = open_dataset(address, options)
    manifest, problems = begin(place)
    if problems:
        raise VerificationFailed(f"{place.path}: {problems[0]}; run verify to see all problems")

    def chunks(name: str) -> Iterator[bytes]:
        try:
            yield from place.chunks(name)
        except VerificationFailed as error:
            raise VerificationFailed(
                f"{place.path}: {error}; run verify to see all problems"
            ) from error

    made = page(manifest, manifest.files, chunks, place.path)
    figures = {one.name: plain(one.words) for one in headlines(manifest)}
    last = place.path.rpartition("/")[2] if is_s3(address) else Path(address).resolve().name
    return Made(_OTHERS.sub("-", last).strip(".-") or "set", made, manifest, figures)


def lines(manifest: Manifest) -> list[str]:
    """The five most important numbers, as a table for the console."""
    found = headlines(manifest)
    wide = [max(len(part) for part in column) for column in zip(*map(_columns, found), strict=True)]
    rows = []
    for one in found:
        name, words, note = _columns(one)
        rows.append(f"  {name:<{wide[0]}}  {words:<{wide[1]}}  {note}".rstrip())
    return rows


def _columns(one: Headline) -> tuple[str, str, str]:
    return one.name, plain(one.words), plain(one.note)


def write(made: Made, output: str | None = None) -> Path:
    """Writes the page to a file of its own, or to ``report-NAME.html`` here; returns its path.

    Raises ``UsageError`` where the file is in a set, or holds something else than a report.
    """
    path = Path(output or f"report-{made.name}.html")
    for folder in path.absolute().resolve().parents:
        if all((folder / name).is_file() for name in (MANIFEST, DATASET_DICT)):
            raise UsageError(
                f"{path} lies in the set {folder}, which is never changed; name another file with "
                "--output"
            )
    try:
        _check_free(path)
        _replace(path, made.page)
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror}); see --output") from error
    return path


def _check_free(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file with --output")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(BEGINNING)) != BEGINNING:
                raise UsageError(f"{path} is no report, and stays; name another file with --output")


def _replace(path: Path, data: bytes) -> None:
    """The file appears whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.absolute().parent, prefix=".report-")
    try:
        with open(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def open_page(path: Path) -> bool:
    """Shows a page in the user's browser; False where there is none."""
    return webbrowser.open(path.absolute().as_uri())
