"""The source of the rows: a data set's name becomes a pinned list of files of one format.

``datasets`` resolves hub names and local folders (configurations, splits, file patterns).  This
module resolves a file, a glob and a ``save_to_disk`` folder.  It reads listings and, of a folder,
its JSON files, nothing else.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.planning.local_files import (
    check_files,
    check_regular,
    each_once,
    link_root,
    matching,
    snapshot_of,
)
from pipeline.planning.source_files import SourceFiles, choose_split, one_format
from pipeline.request import Request
from transforms.errors import AccessDenied, BadInput, DataPrepError, UsageError
from transforms.formats.file_names import COMPRESSIONS, EXTENSIONS, format_of_name
from transforms.formats.file_state import state_of
from transforms.formats.source_rows import FileFormat
from transforms.text.addresses import shown_address

_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".xz", ".lz4")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def resolve(request: Request) -> SourceFiles:
    """The files of a request's data set.

    Raises:
        UsageError: the name, or a flag beside it, is wrong.
        BadInput: the data set has no files that can be read.
    """
    if not isinstance(request.dataset, str):
        return _several(request.dataset, request)
    name = request.dataset
    if "://" in name:
        raise UsageError(
            f"--dataset {shown_address(name)} is an address; expected a hub name such as "
            "user/name, or a local file, folder or glob"
        )
    path = _path(name)
    if _exists(path):
        if request.revision:
            raise UsageError(f"--revision is for hub data sets, but {name} is a local path")
        _keep_apart(path, request.output)
        return _folder(snapshot_of(path), request) if path.is_dir() else _files([path], request)
    if glob.has_magic(name):
        found = matching(str(path))
        if not found:
            raise UsageError(f"--dataset {shown_address(name)} matches no file")
        return _files(found, request)
    looks_local = name.startswith((".", "/", "~")) or name.lower().endswith(
        (*EXTENSIONS, *COMPRESSIONS)
    )
    if looks_local or not HUB_NAME.fullmatch(name):
        raise UsageError(
            f"--dataset {shown_address(name)} does not exist; expected a hub name such as "
            "user/name, or a local file, folder or glob"
        )
    from pipeline.planning import hub

    return hub.resolve(request)


def _several(names: Sequence[str], request: Request) -> SourceFiles:
    """The files of several local names, as one source, in the order of the names."""
    for name in names:
        if not (_exists(_path(name)) or glob.has_magic(name)):
            raise UsageError(
                f"--dataset names {len(names):,} sources, of which {shown_address(name)} is no "
                "local file, folder or glob; a data set of the hub is prepared by itself"
            )
    parts = [resolve(replace(request, dataset=name)) for name in names]
    file_format = one_format(list(names), [part.file_format for part in parts])
    paths = [Path(part.root + name) for part in parts for name, _ in part.files]
    left_out = tuple(dict.fromkeys(split for part in parts for split in part.left_out))
    source = _local(paths, file_format, None, parts[0].split, left_out)
    return replace(source, notes=(*(n for part in parts for n in part.notes), *source.notes))


def _path(name: str) -> Path:
    return Path(os.path.expanduser(name))  # noqa: PTH111 (the other raises for an unknown user)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise AccessDenied(f"no permission to read {path}") from error
    except OSError as error:  # a name that is too long, for one
        raise UsageError(f"--dataset {path} cannot be found: {error.strerror}") from error


def _keep_apart(source: Path, output: str) -> None:
    inside, target = source.resolve(), Path(output).resolve()
    if inside == target or (inside.is_dir() and target.is_relative_to(inside)):
        raise UsageError(
            f"--output {output} lies inside the input {source}; give an output outside of it"
        )
    if inside.is_relative_to(target):
        raise UsageError(f"the input {source} lies inside --output {output}; give another output")


def _files(paths: Sequence[Path], request: Request) -> SourceFiles:
    if request.config:
        raise UsageError(
            f"--config is for hub data sets and folders; {request.dataset_name} has none"
        )
    for path in paths:
        _keep_apart(path, request.output)
        check_regular(path)
    file_format = one_format([str(p) for p in paths], [format_of_name(p.name) for p in paths])
    return _local(paths, file_format, None, "train", ())


def _folder(path: Path, request: Request) -> SourceFiles:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path, request)
    whole = str(path.resolve())
    if glob.has_magic(whole) or "::" in whole:
        raise UsageError(
            f"the folder {path} cannot be listed: its name contains one of * ? [ ::; rename it, "
            "or name a file in it"
        )
    from pipeline.planning import hub

    try:
        builder = hub.builder(whole, request.config, None)
        splits = hub.data_files(builder)
    except DataPrepError:
        raise
    except Exception as error:  # whatever the listing makes of damaged or odd files
        raise BadInput(
            f"{path} cannot be listed ({type(error).__name__}: {error}); name its data files with "
            "a glob, such as --dataset 'FOLDER/*.jsonl'"
        ) from error
    split = choose_split(list(splits), request.split, request.dataset_name)
    paths = [Path(file) for file in splits[split]]
    if not paths:
        raise UsageError(f"split {split} of {path} has no files; name them with a glob")
    _stay_inside(link_root(path), paths)
    packed = [file.name for file in paths if file.name.lower().endswith(_ARCHIVES)]
    if packed:
        raise UsageError(f"{path} contains {packed[0]}, an archive, which is not read; unpack it")
    file_format = hub.form_of(builder, splits[split])
    return _local(
        paths, file_format, builder.config.name, split, tuple(s for s in splits if s != split)
    )


def _saved(path: Path, request: Request) -> SourceFiles:
    """A folder that ``save_to_disk`` or this job wrote."""
    if request.config:
        raise UsageError(f"--config does not apply to {path}, a saved data set")
    splits, folder, listing = ["train"], path, path / "dataset_dict.json"
    if listing.is_file():
        named = _json(listing).get("splits") or []
        splits = (
            [s for s in named if isinstance(s, str) and _is_name(s)]
            if isinstance(named, list)
            else []
        )
        if not splits or splits != named:
            raise BadInput(f"{listing} names no splits, or bad ones: {named}")
    split = choose_split(splits, request.split, request.dataset_name)
    if listing.is_file():
        folder = path / split
    entries = _json(folder / "state.json").get("_data_files") or []
    if not isinstance(entries, list):
        raise BadInput(f"{folder / 'state.json'} has no list of files; save the data set again")
    found = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    names = [name for name in found if isinstance(name, str) and _is_name(name)]
    if not names or len(names) != len(entries):
        raise BadInput(
            f"{folder / 'state.json'} names {found or 'no files'}; expected file names in its "
            "folder"
        )
    paths = [folder / name for name in names]
    for file in paths:
        if not file.is_file():
            raise BadInput(f"{file} is missing, but {folder / 'state.json'} names it")
    _stay_inside(path, paths)
    left_out = tuple(s for s in splits if s != split)
    return _local(paths, FileFormat("arrow_ipc"), None, split, left_out)


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and not any(c in name for c in "/\\\0")


def _json(path: Path) -> Mapping[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} cannot be read as JSON ({error}); save the data set again"
        ) from error
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a JSON object; save the data set again")
    return value


def _stay_inside(folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"{path} is a link out of the folder {folder}; name the file itself, or copy it in"
            )


def _local(
    paths: Sequence[Path],
    file_format: FileFormat,
    config: str | None,
    split: str,
    left_out: tuple[str, ...],
) -> SourceFiles:
    """Local files; their revision is a hash of names, sizes and times of change."""
    paths, notes = each_once(paths)
    check_files(paths, file_format)
    absolute = [path.absolute() for path in paths]
    root = os.path.commonpath([path.parent for path in absolute]).rstrip("/") + "/"
    names = [str(path)[len(root) :] for path in absolute]
    for name in names:
        if any("\ud800" <= c <= "\udfff" for c in name):
            raise UsageError(f"the file name {name!r} is not valid text; rename the file")
    states = [(name, state_of(path)) for name, path in zip(names, absolute, strict=True)]
    seen = [(name, state.size, state.modified) for name, state in states]
    digest = hashlib.blake2b(json.dumps(seen).encode(), digest_size=20).hexdigest()
    files = tuple((name, size) for name, size, _ in seen)
    return SourceFiles(
        *("local", root, digest, config, split, left_out, file_format, files),
        states=dict(states),
        notes=tuple(notes),
    )
