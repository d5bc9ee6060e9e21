"""Where a request's set goes, and what of it is there already."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from pipeline.request import Request
from transforms.storage.local import LocalStore
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3
from transforms.storage.store import DatasetStore

SET_NAME = "processed_reasoning"
"""What the guide calls a prepared set."""

_SAME_SECOND = 20  # runs that may want a name of one second


def output_folders(request: Request) -> list[DatasetStore]:
    """The places where the set may go, the best first; more than one where the name is made."""
    if not is_s3(request.output):
        path = Path(request.output)
        # A link is written where it points: renaming the set over it would replace the link.
        absolute = path.resolve() if path.is_symlink() else path.absolute()
        return [LocalStore(str(absolute))]
    place = S3Uri.parse(request.output, "--output")
    if not request.output.endswith("/"):
        return [S3Store(place, request.s3)]
    return list(dated_folders(place, SET_NAME, request.s3))


def dated_folders(place: S3Uri, name: str, options: S3Options) -> Iterator[S3Store]:
    """``NAME_YYYYMMDD_HHMMSS`` (UTC) below a place; with ``_2``, ``_3``… for more in one second."""
    stamp = f"{datetime.now(timezone.utc):%Y%m%d_%H%M%S}"
    for number in range(1, _SAME_SECOND + 1):
        suffix = f"_{number}" if number > 1 else ""
        key = place.key(f"{name}_{stamp}{suffix}")
        yield S3Store(S3Uri(place.bucket, key), options, fresh=True)
