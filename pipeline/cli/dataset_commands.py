"""The verbs that work on a set: status, upload, download, verify, report, diff, list, prune.

Each takes its flags, how S3 is reached and a console; returns what ``--json`` prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.cli.console import Console
from pipeline.dataset.destinations import dated_folders
from pipeline.dataset.upload import claimed, local_manifest, note, send
from pipeline.request import DEFAULT_OUTPUT
from transforms.errors import UsageError
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri


def upload(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Sends a local set to an address, or to a dated name below it."""
    local = Path(flags.local)
    manifest = local_manifest(local)
    place = S3Uri.parse(flags.address, "the address")
    stores: Iterable[S3Store] = [S3Store(place, options)]
    if flags.address.endswith("/"):
        stores = dated_folders(place, local.absolute().name, options)
    elif not place.prefix:
        raise UsageError(f"{flags.address} is a whole bucket; give a prefix in it")
    size = sum(file["bytes"] for file in manifest["files"])
    with claimed(stores, manifest["plan_digest"], flags.resume) as store:
        console.say(f"☁️  Uploading {local} to {store.path}...")
        with console.transfer(size) as on_bytes:
            done = send(local, store, on_bytes, lambda line: console.say(f"  {line}"))
    metadata, noted = note(local.absolute().parent, done, manifest.get("dataset", ""))
    for warning in done.warnings:
        console.say(f"  Warning: {warning}")
    console.say(f"✓ Upload complete! Total files: {len(done.keys)} ({done.sent} sent now)")
    console.say(f"  S3 URI: {done.uri}\n  {noted}")
    return {**done.to_json(), "metadata": str(metadata) if metadata else None}


def status(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Tells how far a set is."""
    from pipeline.dataset.status import look

    found = look(flags.address, options)
    console.say(found.describe())
    return found.to_json()


def download(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Fetches a set into a local folder."""
    from pipeline.dataset.download import download as fetch

    place = S3Uri.parse(flags.address, "the address")
    name = place.prefix.rpartition("/")[2] or place.bucket
    target = Path(flags.local or Path(DEFAULT_OUTPUT).parent / name)
    console.say(f"📥 Downloading {place.uri} to {target}...")
    with console.transfer(None) as on_bytes:
        done = fetch(place.uri, target, options, on_bytes)
    counts = done.manifest["counts"]
    console.say(
        f"✓ Download complete and checked: {counts['train']:,} training and "
        f"{counts['validation']:,} validation examples"
    )
    console.say(f"  Local Path: {done.path}")
    return done.to_json()


def verify(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Checks a set."""
    from pipeline.dataset.verify import verify as check

    console.say(f"🔍 Verifying {flags.address}{' (quick)' if flags.quick else ''}...")
    with console.transfer(None) as on_bytes:
        done = check(flags.address, options, quick=flags.quick, on_bytes=on_bytes)
    found = done.to_json()
    console.say(f"✓ Whole: {done.files:,} files, {done.bytes / 1e6:,.1f} MB")
    return found


def report(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Makes the page on a set."""
    from pipeline.dataset.report import lines, make, open_page, write

    made = make(flags.address, options)
    path = write(made, flags.output)
    for line in lines(made.manifest, flags.address):
        console.say(line)
    console.say(f"✓ Report: {path}")
    if flags.open and not open_page(path):
        console.say("  Warning: no browser could be opened; open that file in one")
    return {"report": str(path), "figures": made.figures}


def diff(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Compares two sets."""
    from pipeline.dataset.diff import diff as compare

    console.say(f"🔍 Comparing {flags.first} with {flags.second}...")
    with console.transfer(None) as on_bytes:
        found = compare(flags.first, flags.second, options, on_bytes)
    console.say(f"✓ {found.same:,} rows are in both, {found.moved:,} of them in another split")
    for what in ("changed", "added", "removed"):
        console.say(f"  {what}: {getattr(found, what):,}")
    return found.to_json()


def list(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Shows the sets below an address."""
    from pipeline.dataset.catalog import list_sets, table

    sets = list_sets(flags.address, options)
    console.say(table(sets, flags.address))
    return {"sets": [one.to_json() for one in sets]}


def prune(flags: argparse.Namespace, options: S3Options, console: Console) -> dict[str, Any]:
    """Deletes all complete sets below an address but the newest; only shows them without --yes."""
    from pipeline.dataset import catalog

    sets = catalog.list_sets(flags.address, options)
    old = catalog.plan_prune(sets, flags.keep)
    console.say(catalog.table(old, flags.address) if old else "✓ Nothing to delete")
    for one in old if flags.yes else ():
        catalog.prune(one.uri, options)
        console.say(f"✓ Deleted: {one.uri}")
    if old and not flags.yes:
        sets_ = "1 set" if len(old) == 1 else f"{len(old):,} sets"
        console.say(f"{sets_} would be deleted; add --yes to delete")
    return {"deleted" if flags.yes else "would_delete": [one.to_json() for one in old]}
