"""The Hugging Face hub, asked by the launcher only: a pinned revision and its list of files.

The commit is resolved first and by itself: ``datasets`` would fall back to a cached copy when the
hub cannot be reached or the token was revoked, which would be a silent stale or unauthorised read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.request import Request
from pipeline.source import SourceFiles, choose_split
from transforms.errors import AccessDenied, DataPrepError, StorageError, UsageError
from transforms.formats import Format, format_of_name

if TYPE_CHECKING:
    from datasets import DatasetBuilder

_TIMEOUT_SECONDS = 15.0
_READERS = {"parquet": "parquet", "json": "json_lines", "csv": "delimited", "arrow": "arrow_ipc"}


def resolve(request: Request) -> SourceFiles:
    """The files of one split of a hub data set, at the commit that its revision names now."""
    from huggingface_hub import HfApi

    name = request.dataset
    with _explained(name, request.revision):
        _may_read(name)
        info = HfApi().dataset_info(
            name, revision=request.revision, files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
    sha = info.sha
    if sha is None:
        raise StorageError(f"the hub told no commit for {name}; run again later")
    sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
    with _explained(name, request.revision):
        found = builder(name, request.config, sha)
        splits = data_files(found)
    split = choose_split(list(splits), request.split, name)
    root = f"hf://datasets/{name}@{sha}/"
    files = []
    for address in splits[split]:
        if not address.startswith(root):
            raise UsageError(
                f"{name} names the file {address}, which is not part of it; download the file and "
                "name the local copy"
            )
        files.append((address[len(root) :], sizes.get(address[len(root) :]) or 0))
    form = form_of(found, [file for file, _ in files])
    left_out = tuple(s for s in splits if s != split)
    config = found.config.name
    return SourceFiles("hub", root, sha, config, split, left_out, form, tuple(files))


def _may_read(name: str) -> None:
    """Asks the hub whether this login may read the data set, and waits out a short outage.

    The listing of a gated data set is public, so it does not tell.  ``HfApi`` itself gives up at
    the first 503.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

    address = f"{constants.ENDPOINT}/api/datasets/{name}/auth-check"
    answer = http_backoff(
        "GET",
        address,
        headers=build_hf_headers(),
        timeout=_TIMEOUT_SECONDS,
        max_retries=4,
        base_wait_time=0.5,
        retry_on_status_codes=(429, 500, 502, 503, 504),
    )
    hf_raise_for_status(answer)


def builder(path: str, config: str | None, revision: str | None) -> DatasetBuilder:
    """The packaged builder of a hub name or folder; it knows configurations, splits and files."""
    from datasets import load_dataset_builder
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    try:
        return load_dataset_builder(path, config, revision=revision)
    except (EmptyDatasetError, DataFilesNotFoundError) as error:
        raise UsageError(
            f"{path} holds no data files that can be read; expected Parquet, JSON, CSV or Arrow"
        ) from error
    except (ValueError, RuntimeError) as error:
        text = str(error)
        if "Config" in text:
            raise UsageError(f"{path}: {text}; choose with --config") from error
        raise UsageError(f"{path} cannot be used: {text}") from error


def data_files(found: DatasetBuilder) -> dict[str, list[str]]:
    """Split name -> addresses or paths of its files, as the builder resolved them."""
    files: Mapping[Any, Any] = found.config.data_files or {}
    splits = {str(split): [str(file) for file in files[split]] for split in files}
    if not splits:
        raise UsageError(
            f"{found.dataset_name} holds no data files that can be read; expected Parquet, JSON, "
            "CSV or Arrow"
        )
    return splits


def form_of(found: DatasetBuilder, files: list[str]) -> Format:
    """The format of a builder's files; ``UsageError`` for kinds and options that are not read."""
    kind = type(found).__module__.split(".")[-1]
    if kind not in _READERS:
        raise UsageError(
            f"{found.dataset_name} is read as {kind!r} files, which hold no columns to choose "
            "from; expected Parquet, JSON, CSV or Arrow"
        )
    options: Any = found.config
    if getattr(options, "field", None):
        raise UsageError(
            f"{found.dataset_name} keeps its rows under the JSON key {options.field!r}, which is "
            "not supported; convert the file to JSON Lines"
        )
    compression = {_compression(file) for file in files}
    if len(compression) > 1:
        raise UsageError(
            f"{found.dataset_name} mixes compressed and plain files; name one kind with a glob"
        )
    delimiter = getattr(options, "delimiter", None) or getattr(options, "sep", None) or ","
    if kind == "csv" and files[0].split(".")[-1] == "tsv" and delimiter == ",":
        delimiter = "\t"
    return Format(_READERS[kind], compression.pop(), delimiter)


def _compression(file: str) -> str | None:
    try:
        return format_of_name(file).compression
    except UsageError:
        return None  # the builder knows better than the name


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """Turns the hub's refusals into errors with a remedy; a network failure is never waited out."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    login = "set HF_TOKEN, or run `hf auth login`"
    try:
        yield
    except DataPrepError:
        raise
    except errors.GatedRepoError as error:
        raise AccessDenied(f"{name} is gated: ask for access on its page, then {login}") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{name} has no revision {revision!r} (--revision)") from error
    except errors.RepositoryNotFoundError as error:
        if error.response is not None and error.response.status_code == 401:
            raise AccessDenied(
                f"{name} is not on the hub, or it is private: check the name, {login}"
            ) from error
        raise UsageError(
            f"{name} is not on the hub, or it is private and this login may not see it; check the "
            f"name (--dataset), or {login}"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise AccessDenied(f"the hub refused the login ({status}): {login}") from error
        raise StorageError(f"the hub answered {status} for {name}; run again later") from error
    except (httpx.RequestError, ConnectionError, TimeoutError) as error:
        raise StorageError(
            f"the hub cannot be reached ({type(error).__name__}); check the network, then run again"
        ) from error
    except FileNotFoundError as error:  # what datasets makes of an outage in the middle
        raise StorageError(
            f"the files of {name} could not be listed ({error}); run again later"
        ) from error
