"""The Hugging Face hub: resolves a revision and lists its files, on the launcher only.

The commit is resolved first, by a request of its own.  ``datasets`` would fall back to a cached
copy when the hub cannot be reached or the token was revoked: a silent stale or unauthorised read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import yaml  # type: ignore[import-untyped]

from pipeline.planning.cards import CARDS, check_card, elsewhere
from pipeline.planning.source_files import SourceFiles, choose_split
from pipeline.request import Request
from transforms.errors import AccessDenied, DataPrepError, StorageError, UsageError
from transforms.formats.file_names import format_of_name
from transforms.formats.source_rows import FileFormat
from transforms.text.addresses import shown_address

if TYPE_CHECKING:
    from datasets import DatasetBuilder

_TIMEOUT_SECONDS = 15.0
_WAITS_SECONDS = (1.0, 2.0, 4.0)
_PATIENCE_SECONDS = 20.0  # after this time a further try would not be quick any more
_READERS = {"parquet": "parquet", "json": "json_lines", "csv": "delimited", "arrow": "arrow_ipc"}
_LOGIN = "set HF_TOKEN, or run `hf auth login`"

# Options of a configuration that change the rows and that our readers do not support.
_OPTIONS = (
    *("header", "names", "skiprows", "nrows", "skipfooter", "comment", "encoding", "dialect"),
    *("quotechar", "quoting", "escapechar", "doublequote", "lineterminator", "filters"),
)

_T = TypeVar("_T")


def resolve(request: Request) -> SourceFiles:
    """The files of one split of a hub data set, at the commit that its revision names now."""
    from huggingface_hub import HfApi

    name = request.dataset_name
    with _request_errors(name, request.revision):
        # The listing of a gated data set is public, so only this request checks the permission.
        _with_retries(lambda: HfApi().auth_check(name, repo_type="dataset"))
        info = _with_retries(
            lambda: HfApi().dataset_info(
                name, revision=request.revision, files_metadata=True, timeout=_TIMEOUT_SECONDS
            )
        )
        sha = info.sha
        if sha is None:
            raise StorageError(f"the hub gave no commit for {name}; run again later")
        sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
        with _listing_errors(name, sizes):
            for card in (*CARDS, "dataset_infos.json"):
                if card in sizes:
                    _fetch_card(name, sha, card)
            found = _with_retries(lambda: builder(name, request.config, sha))
            splits = data_files(found)
    split = choose_split(list(splits), request.split, name)
    root = f"hf://datasets/{name}@{sha}/"
    files = []
    for address in splits[split]:
        if not address.startswith(root):
            raise elsewhere(name, address)
        files.append((address[len(root) :], sizes.get(address[len(root) :], 0)))
    file_format = form_of(found, [file for file, _ in files])
    left_out = tuple(s for s in splits if s != split)
    config = found.config.name
    return SourceFiles("hub", root, sha, config, split, left_out, file_format, tuple(files))


def _with_retries(request: Callable[[], _T]) -> _T:
    """Retries a request after a short outage; the libraries send most of them only once."""
    started = time.monotonic()
    for wait in _WAITS_SECONDS:
        try:
            return request()
        except Exception as error:
            if not _is_temporary(error) or time.monotonic() - started > _PATIENCE_SECONDS:
                raise
            time.sleep(wait)
    return request()


def _is_temporary(error: Exception) -> bool:
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == 429 or status >= 500
    lasting = (errors.OfflineModeIsEnabled, httpx.UnsupportedProtocol)
    passing = (httpx.RequestError, errors.LocalEntryNotFoundError, ConnectionError, TimeoutError)
    return isinstance(error, passing) and not isinstance(error, lasting)


def _fetch_card(name: str, sha: str, file: str) -> str:
    """The local copy of a small file that decides what ``datasets`` lists.

    When the hub is busy, ``datasets`` takes some of them for missing and lists other files.  It
    uses a copy of this commit in the cache without a request.
    """
    from huggingface_hub import hf_hub_download

    return str(
        _with_retries(lambda: hf_hub_download(name, file, repo_type="dataset", revision=sha))
    )


def model_files(name: str, flag: str = "--template") -> Callable[[str], bytes | None]:
    """Reads small files of a model's repository, at the commit that its main branch names now."""
    from huggingface_hub import HfApi, errors, hf_hub_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(
            f"{flag} hub:{shown_address(name)} names no model; expected hub:OWNER/NAME"
        ) from error
    with _request_errors(name, None, flag):
        # As for data sets: a copy in the cache does not prove the permission.
        _with_retries(lambda: HfApi().auth_check(name))
        sha = _with_retries(lambda: HfApi().model_info(name, timeout=_TIMEOUT_SECONDS)).sha
    if sha is None:
        raise StorageError(f"the hub gave no commit for {name}; run again later")

    def read(file: str) -> bytes | None:
        with _request_errors(name, None, flag):
            try:
                return Path(
                    _with_retries(lambda: hf_hub_download(name, file, revision=sha))
                ).read_bytes()
            except errors.LocalEntryNotFoundError as error:  # an outage
                raise StorageError(
                    f"{file} of {name} could not be read; check the network, then run again"
                ) from error
            except errors.EntryNotFoundError:
                return None

    return read


def builder(path: str, config: str | None, revision: str | None) -> DatasetBuilder:
    """The packaged builder of a folder, or of a hub name whose cards are in the cache.

    It has the configurations, splits and files.
    """
    from datasets import load_dataset_builder
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    try:
        _check_cards(path, revision)
        # Without a cache ``datasets`` cannot fall back to a copy that it made earlier.
        with TemporaryDirectory() as empty:
            return load_dataset_builder(path, config, revision=revision, cache_dir=empty)
    except (EmptyDatasetError, DataFilesNotFoundError) as error:
        raise UsageError(
            f"{path} contains no data files that can be read; expected Parquet, JSON, CSV or Arrow"
        ) from error
    except FileNotFoundError as error:
        if revision is not None:
            raise  # possibly an outage: see ``_listing_errors``
        raise _missing(path, _pattern(error)) from error
    except (ValueError, RuntimeError, TypeError, AttributeError, yaml.YAMLError) as error:
        text = _short(error)
        if "Config" in text:
            raise UsageError(f"{path}: {text}; choose with --config") from error
        raise UsageError(f"{path} cannot be used: {text}; name its data files instead") from error


def _check_cards(path: str, revision: str | None) -> None:
    """Checks the cards of a folder, or those of a data set on the hub that are in the cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    for card in CARDS:
        file: object = Path(path, card)
        if revision is not None:
            file = try_to_load_from_cache(path, card, revision=revision, repo_type="dataset")
        if not isinstance(file, (str, Path)) or not Path(file).is_file():
            continue
        text = Path(file).read_text("utf-8", "replace")
        if card.endswith(".md"):
            block = re.search(REGEX_YAML_BLOCK, text)
            text = block[2] if block else ""
        check_card(path, card, text)


def _missing(name: str, pattern: str) -> UsageError:
    return UsageError(
        f"{name} names data files that are not there ({pattern}); choose another --config, or name "
        "its data files themselves"
    )


def _pattern(error: FileNotFoundError) -> str:
    """The file pattern that ``datasets`` did not find; "" for another error."""
    found = re.search(r"Unable to find '(?:hf://[^@']+@[0-9a-f]{40}/)?([^']*)'", str(error))
    return found[1] if found else ""


def _short(error: Exception) -> str:
    """An error message as one sentence, shortened."""
    text = " ".join(str(error).split()).partition(" Example of usage")[0]
    return re.sub(r"(.{300}).+", r"\1…", text).rstrip(".") or type(error).__name__


def data_files(found: DatasetBuilder) -> dict[str, list[str]]:
    """Split name -> addresses or paths of its files, as the builder resolved them."""
    files = found.config.data_files or {}
    splits = {str(split): [str(file) for file in files[split]] for split in files}
    if not splits:
        raise UsageError(
            f"{found.dataset_name} contains no data files that can be read; expected Parquet, "
            "JSON, CSV or Arrow"
        )
    return splits


def form_of(found: DatasetBuilder, files: list[str]) -> FileFormat:
    """The format of a builder's files; ``UsageError`` for kinds and options that are not read."""
    kind = type(found).__module__.split(".")[-1]
    if kind not in _READERS:
        raise UsageError(
            f"{found.dataset_name} is read as {kind!r} files, which have no columns; "
            "expected Parquet, JSON, CSV or Arrow"
        )
    options: Any = found.config
    if getattr(options, "field", None):
        raise UsageError(
            f"{found.dataset_name} keeps its rows under the JSON key {options.field!r}, which is "
            "not supported; convert the file to JSON Lines"
        )
    plain = type(options)()
    changed = [
        name
        for name in _OPTIONS
        if getattr(options, name, None) != getattr(plain, name, None)
        # These are what the readers do: the first line is the header, the text is UTF-8.
        and str(getattr(options, name)).lower() not in ("0", "utf-8", "utf8")
    ]
    if changed:
        raise UsageError(
            f"{found.dataset_name} sets the {kind} option {', '.join(changed)}, which is not "
            "supported; download the files and convert them to JSON Lines"
        )
    compression = {_compression(file) for file in files}
    if len(compression) > 1:
        raise UsageError(
            f"{found.dataset_name} mixes compressed and plain files; name one kind with a glob"
        )
    delimiter = getattr(options, "sep", None) or ","
    return FileFormat(_READERS[kind], compression.pop(), delimiter)


def _compression(file: str) -> str | None:
    try:
        return format_of_name(file).compression
    except UsageError:
        return None  # the builder decided the format


@contextmanager
def _listing_errors(name: str, sizes: Mapping[str, int]) -> Iterator[None]:
    """Tells a missing file from a failed listing, for which ``datasets`` has one error."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        yield
    except DatasetNotFoundError as error:
        raise AccessDenied(
            f"{name} cannot be read any more: its access has just been changed; {_LOGIN}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise StorageError(f"the files of {name} could not be read; run again later") from error
    except FileNotFoundError as error:
        pattern = _pattern(error)
        if pattern and pattern not in sizes:
            raise _missing(name, pattern) from error
        raise StorageError(f"the files of {name} could not be listed; run again later") from error


@contextmanager
def _request_errors(name: str, revision: str | None, flag: str = "--dataset") -> Iterator[None]:
    """Turns the hub's errors into errors with a remedy."""
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx

    try:
        yield
    except DataPrepError:
        raise
    except errors.GatedRepoError as error:
        raise AccessDenied(f"{name} is gated: request access on its page, then {_LOGIN}") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(f"{name} has no revision {revision!r} (--revision)") from error
    except errors.RepositoryNotFoundError as error:
        if error.response is not None and error.response.status_code == 401:
            raise AccessDenied(
                f"{name} is not on the hub, or it is private: check the name, {_LOGIN}"
            ) from error
        raise UsageError(
            f"{name} is not on the hub, or it is private and this login has no access; check the "
            f"name ({flag}), or {_LOGIN}"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise AccessDenied(f"the hub refused the login ({status}): {_LOGIN}") from error
        raise StorageError(f"the hub answered {status} for {name}; run again later") from error
    except (httpx.RequestError, ConnectionError, TimeoutError) as error:
        raise StorageError(
            f"the hub cannot be reached ({type(error).__name__}); check the network, then run again"
        ) from error
