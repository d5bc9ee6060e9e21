"""Everything that lies at a set's place, and what of it is no file of the set.

``datasets`` reads files that no manifest names (a hidden ``.huggingface.yaml``, a second card, any
Arrow file of a split's folder), and a user's notes may lie anywhere: so nothing is passed over, not
hidden files, not links, and not folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from transforms.storage.names import DATASET_DICT, MANIFEST, SET_FOLDERS
from transforms.text.visible import visible

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "device, pipe or socket"

_NAMED = 5
_CHARS = 200
_DROPPINGS = (".DS_Store", "._", "Thumbs.db", "desktop.ini", ".Spotlight", ".Trash", ".fseventsd")


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies under a name: a path below the set's place, with a closing slash for a folder."""

    name: str
    kind: str = FILE


def local_entries(root: Path, entered: Sequence[str] = SET_FOLDERS) -> Iterator[Entry]:
    """What lies in a folder, without following a link; none where there is no folder.

    Only the folders ``entered`` are looked into: any other is one entry, however much it holds.
    """
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for one in entries:
        kind = _kind(one)
        yield Entry(f"{one.name}/" if kind == FOLDER else one.name, kind)
        if kind == FOLDER and one.name in entered:
            with os.scandir(one.path) as inside:
                for each in sorted(inside, key=lambda each: each.name):
                    kind = _kind(each)
                    end = "/" if kind == FOLDER else ""
                    yield Entry(f"{one.name}/{each.name}{end}", kind)


def _kind(one: os.DirEntry[str]) -> str:
    if one.is_symlink():
        return LINK
    if one.is_dir(follow_symlinks=False):
        return FOLDER
    return FILE if one.is_file(follow_symlinks=False) else OTHER


def foreign(entries: Iterable[Entry], files: Iterable[str]) -> list[Entry]:
    """The entries that are neither a file of a set nor a folder that has one.

    Args:
        entries: what lies at the place of the set.
        files: the names that the manifest lists; the two that it cannot list are added.
    """
    own = files if isinstance(files, AbstractSet) else set(files)  # there may be 300,000
    folders = {f"{name.partition('/')[0]}/" for name in own if "/" in name}
    return [
        one
        for one in entries
        if not (one.kind == FILE and (one.name in own or one.name in (MANIFEST, DATASET_DICT)))
        and not (one.kind == FOLDER and one.name in folders)
    ]


def origin(entry: Entry) -> str:
    """What an entry that is no file of a set probably is: "a link", "left by macOS"."""
    name = entry.name.rstrip("/").rpartition("/")[2]
    if entry.kind in (LINK, OTHER):
        return f"a {entry.kind}"
    if name.startswith("cache-") and name.endswith(".arrow"):
        return "left by map() or filter() of datasets, as a trainer calls them"
    if name.startswith(_DROPPINGS):
        return "left by a file manager"
    return f"a {entry.kind}" if entry.kind == FOLDER else "extra"


def named(names: Sequence[str]) -> str:
    """The first few names for a message, with the number of the others."""
    shown = [visible(name)[:_CHARS] for name in names[:_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")
