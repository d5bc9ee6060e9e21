"""A finished set takes the place of an older one by two renames, and nothing else is lost.

    NAME -> .NAME.replaced      the old set, if it is the one that the run was asked to replace
    .NAME.partial -> NAME       the new set

Before the first rename the old set's files are hashed, after it they are looked at once more: what
a user put into the folder meanwhile is never deleted, and the run refuses and leaves both sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transforms.errors import OutputTaken
from transforms.storage.checksums import sync
from transforms.storage.entries import foreign, local_entries, named
from transforms.storage.names import may_be_listed
from transforms.storage.own_files import (
    OldSet,
    check_nothing_else,
    old_set,
    own_manifest,
    remove_empty,
    remove_files,
)
from transforms.storage.reader import LocalReader, complete_set, finished_manifest

_GO_ON = "then run again with the same flags and --resume"


def holds_anything(target: Path) -> bool:
    """Is there anything but an empty folder, or nothing?"""
    if not target.exists() and not target.is_symlink():
        return False
    return not target.is_dir() or any(target.iterdir())


def check_replaceable(target: Path, replaced: Path, plan_digest: str, overwrite: bool) -> OldSet:
    """The set at ``target``, which a run with ``overwrite`` may replace.

    Args:
        target: a folder, which holds something.
        replaced: where the old set will be moved; what an earlier run left there is removed.
        plan_digest: of the set that is to be made.
        overwrite: whether the user asked to replace a set.

    Raises:
        OutputTaken: anything but the files of one set is there, or ``overwrite`` is False.
    """
    if not target.is_dir():
        raise OutputTaken(
            f"{target} is no folder and is left alone even with --overwrite; give another --output"
        )
    manifest = own_manifest(target, str(target))
    check_nothing_else(target, manifest, str(target))
    if not overwrite:
        raise OutputTaken(
            f"{target} already holds a data set of plan {manifest.plan_digest[:12]}, but this "
            f"request's plan is {plan_digest[:12]}; add --overwrite to replace it, or give another "
            "--output"
        )
    _remove_left_over(replaced)
    return old_set(target)


def put_in_place(staging: Path, target: Path, replaced: Path, may_replace: str) -> None:
    """Renames the staged set to ``target``, and removes the set that was there.

    Args:
        staging: the new set, whole.
        target: where it goes.
        replaced: where the old set is moved meanwhile.
        may_replace: SHA-256 of the manifest of the only set that may be replaced; "" for none.

    Raises:
        OutputTaken: the target holds something else; both are left as they are.
    """
    if not holds_anything(target):
        staging.rename(target)
        sync(target.parent)
        return
    manifest = own_manifest(target, str(target)) if may_replace else None
    if manifest is None or manifest.sha256 != may_replace:
        raise OutputTaken(
            f"{target} was empty or held another set when this run began, so what is there now is "
            f"left alone: move it away, {_GO_ON}"
        )
    old = old_set(target, _GO_ON)
    _remove_left_over(replaced)
    target.rename(replaced)
    try:
        old.check_unchanged(replaced, str(target), _GO_ON)
        staging.rename(target)
    except BaseException:
        if not target.exists():
            replaced.rename(target)
        raise
    sync(target.parent)
    old.remove(replaced)


def check_staged(staging: Path, names: Iterable[str] | None) -> None:
    """``OutputTaken`` where a user's file would become part of the set.

    A file of a run that the manifest does not list is one of an earlier attempt; it is removed.

    Args:
        staging: the set that is to be put in place.
        names: the names that its manifest lists, which is read for them if they are None.
    """
    if names is None:
        names = (file.path for file in complete_set(LocalReader(str(staging))).files)
    listed = set(names)
    remove_files(staging, lambda name: may_be_listed(name) and name not in listed)
    others = foreign(local_entries(staging), listed)
    if others:
        raise OutputTaken(
            f"{staging}, where the set is made, holds other files as well "
            f"({named([one.name for one in others])}), so nothing was published: move them away, "
            f"{_GO_ON}"
        )


def restore(target: Path, replaced: Path) -> None:
    """Puts the old set back, where an overwrite was stopped between its two renames."""
    if target.exists() or target.is_symlink() or not replaced.is_dir() or replaced.is_symlink():
        return
    if finished_manifest(LocalReader(str(replaced))) is not None:
        replaced.rename(target)


def _remove_left_over(replaced: Path) -> None:
    """Removes what an overwrite that was stopped left of the set that it replaced."""
    if not replaced.exists() and not replaced.is_symlink():
        return
    if replaced.is_symlink() or not replaced.is_dir():
        raise OutputTaken(
            f"{replaced} is in the way of an overwrite, which moves the old set there: move it away"
        )
    remove_empty(replaced)
    if replaced.exists():
        old_set(replaced).remove(replaced)


def left_over(replaced: Path) -> list[str]:
    """A warning where the old set's folder could not be removed, for it holds something else."""
    kept = [one.name for one in local_entries(replaced)]
    if not replaced.exists():
        return []
    return [
        f"the set that was replaced is kept at {replaced}, since something changed there while it "
        f"was removed ({named(kept)}): look at it, then delete the folder"
    ]
