"""How a source's files are opened, here and on the hub, and how failures are named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from transforms.errors import AccessDenied, BadInput, DataPrepError, StorageError
from transforms.formats.file_state import changed_error, difference
from transforms.formats.hub_file import HubFile
from transforms.records import FileState


def is_remote(path: str) -> bool:
    """Is this a hub address rather than a local path?"""
    return path.startswith("hf://")


def open_binary(path: str, compression: str | None = None) -> BinaryIO:
    """A source file's bytes, decompressed; a remote file is read by range requests with retries."""
    # The caller closes it.
    raw = cast(BinaryIO, HubFile(path)) if is_remote(path) else open(path, "rb")  # noqa: SIM115
    if compression is None:
        return raw
    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression))


@contextmanager
def reading(path: str, planned: FileState | None = None) -> Iterator[None]:
    """Turns any error while reading ``path`` into one that names it.

    A file that is not as it was ``planned`` any more is the cause of whatever fails.
    """
    try:
        yield
    except Exception as error:
        what = difference(path, planned)
        if what:
            raise changed_error(path, what) from error
        with _named_errors(path):
            raise


@contextmanager
def _named_errors(path: str) -> Iterator[None]:
    try:
        yield
    except DataPrepError:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist (any more); plan again") from error
    except PermissionError as error:
        raise AccessDenied(f"no permission to read {path}") from error
    except Exception as error:
        raise _named(path, error) from error


def _named(path: str, error: Exception) -> DataPrepError:
    text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return AccessDenied(
            f"the hub refused {path} ({status}); check HF_TOKEN or run `hf auth login`"
        )
    if status == 404:
        return BadInput(f"{path} is not on the hub (404)")
    if is_remote(path) and (status is not None or _is_network(error)):
        return StorageError(f"reading {path} failed after retries ({text}); run again later")
    known = (pa.ArrowException, ValueError, OSError, EOFError)
    if isinstance(error, known):
        return BadInput(
            f"cannot read {path} ({text}); the file is damaged, or not of the format of its "
            "name: replace it, or leave it out"
        )
    raise error


def _is_network(error: Exception) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    from huggingface_hub.utils import httpx

    return isinstance(error, httpx.RequestError)
