"""The commands on a finished set: status, upload, download, verify, report, diff, list, prune.

Each takes its arguments, how S3 is reached and a console; it returns what ``--json`` prints.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.cli.console import Console
from pipeline.cli.dataset_flags import (
    Diff,
    Download,
    List,
    Prune,
    Report,
    Status,
    Upload,
    Verify,
)
from pipeline.dataset.destinations import dated_folders
from pipeline.dataset.upload import claimed, local_manifest, note, send
from pipeline.request import DEFAULT_OUTPUT
from transforms.errors import DataPrepError, OutputTaken, UsageError
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri
from transforms.text.addresses import shown_address

Found = dict[str, object]
"""What a command found or did, as JSON."""


def upload(given: Upload, options: S3Options, console: Console) -> Found:
    """Uploads a local set to an address, or to a name with the time below it."""
    local = Path(given.local)
    manifest = local_manifest(local)
    place = S3Uri.parse(given.address, "the address")
    stores: Iterable[S3Store] = [S3Store(place, options)]
    if given.address.endswith("/"):
        stores = dated_folders(place, local.absolute().name, options)
    elif not place.prefix:
        raise UsageError(f"{shown_address(given.address)} is a whole bucket; give a prefix in it")
    size = sum(file.bytes for file in manifest.files)
    with claimed(stores, manifest.plan_digest, given.resume) as store:
        console.say(f"☁️  Uploading {local} to {store.path}...")
        with console.transfer(size) as on_bytes:
            done = send(local, store, on_bytes, lambda line: console.say(f"  {line}"))
    metadata, noted = note(local.absolute().parent, done, manifest.dataset or "")
    for warning in done.warnings:
        console.say(f"  Warning: {warning}")
    console.say(f"✓ Upload complete! Total files: {len(done.keys)} ({done.sent} sent now)")
    console.say(f"  S3 URI: {done.uri}", f"  {noted}")
    console.say(f"  Manifest SHA-256: {done.manifest.sha256}")
    return {**done.to_json(), "metadata": str(metadata) if metadata else None}


def status(given: Status, options: S3Options, console: Console) -> Found:
    """Shows the progress of a set."""
    from pipeline.dataset.status import look

    found = look(given.address, options)
    console.say(*found.describe().split("\n"))
    return found.to_json()


def download(given: Download, options: S3Options, console: Console) -> Found:
    """Downloads a set into a local folder."""
    from pipeline.dataset.download import download as fetch

    place = S3Uri.parse(given.address, "the address")
    name = place.prefix.rpartition("/")[2] or place.bucket
    target = Path(given.local or Path(DEFAULT_OUTPUT).parent / name)
    console.say(f"📥 Downloading {place.uri} to {target}...")
    with console.transfer(None) as on_bytes:
        done = fetch(place.uri, target, options, on_bytes)
    counts = done.manifest.counts
    console.say(
        f"✓ Download complete and checked: {counts.train:,} training and "
        f"{counts.validation:,} validation examples"
    )
    console.say(f"  Local Path: {done.path}", f"  Manifest SHA-256: {done.manifest.sha256}")
    return done.to_json()


def verify(given: Verify, options: S3Options, console: Console) -> Found:
    """Checks a set."""
    from pipeline.dataset.verify import verify as check

    console.say(
        f"🔍 Verifying {shown_address(given.address)}{' (quick)' if given.quick else ''}..."
    )
    with console.transfer(None) as on_bytes:
        done = check(
            given.address,
            options,
            quick=given.quick,
            on_bytes=on_bytes,
            manifest_sha256=given.manifest_sha256,
        )
    found = done.to_json()
    console.say(f"✓ Verified: {done.files:,} files, {done.bytes / 1e6:,.1f} MB")
    same = " (as expected)" if given.manifest_sha256 else ""
    console.say(f"  Manifest SHA-256: {done.manifest_sha256}{same}")
    return found


def report(given: Report, options: S3Options, console: Console) -> Found:
    """Writes the quality report of a set."""
    from pipeline.dataset.report import lines, make, open_page, write

    made = make(given.address, options)
    path = write(made, given.output)
    for line in lines(made.manifest):
        console.say(line)
    console.say(f"✓ Report: {path}")
    if given.open and not open_page(path):
        console.say("  Warning: no browser could be opened; open the file yourself")
    return {"report": str(path), "figures": made.figures}


def diff(given: Diff, options: S3Options, console: Console) -> Found:
    """Counts the rows that differ between two sets."""
    from pipeline.dataset.diff import diff as compare

    console.say(f"🔍 Comparing {shown_address(given.first)} with {shown_address(given.second)}...")
    with console.transfer(None) as on_bytes:
        found = compare(given.first, given.second, options, on_bytes)
    console.say(f"✓ {found.same:,} rows are in both, {found.moved:,} of them in another split")
    for what in ("changed", "added", "removed"):
        console.say(f"  {what}: {getattr(found, what):,}")
    return found.to_json()


def list(given: List, options: S3Options, console: Console) -> Found:
    """Lists the sets below an address."""
    from pipeline.dataset.catalog import list_sets, table

    sets = list_sets(given.address, options)
    console.say(*table(sets, given.address).split("\n"))
    return {"sets": [one.to_json() for one in sets]}


def prune(given: Prune, options: S3Options, console: Console) -> Found:
    """Deletes all complete sets below an address except the newest; without --yes, lists them."""
    from pipeline.dataset import catalog
    from pipeline.dataset.prune import plan_prune
    from pipeline.dataset.prune import prune as delete

    sets = catalog.list_sets(given.address, options)
    old = plan_prune(sets, given.keep)
    found = catalog.table(old, given.address) if old else "✓ Nothing to delete"
    console.say(*found.split("\n"))
    refused: dict[str, DataPrepError] = {}
    for one in old if given.yes else ():
        try:
            delete(one.uri, options)
            console.say(f"✓ Deleted: {one.uri}")
        except OutputTaken as error:
            refused[one.uri] = error
            console.say(f"  Kept: {one.uri}")
    if old and not given.yes:
        sets_ = "1 set" if len(old) == 1 else f"{len(old):,} sets"
        console.say(f"{sets_} would be deleted; add --yes to delete")
    if refused:
        raise OutputTaken("\n".join(map(str, refused.values())))
    return {"deleted" if given.yes else "would_delete": [one.to_json() for one in old]}
