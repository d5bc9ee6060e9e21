"""What the name of a file says of its format, and what its first bytes say against it."""

from __future__ import annotations

from transforms.errors import BadInput, UsageError
from transforms.formats.source_rows import FileFormat

EXTENSIONS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json_lines",
    ".jsonlines": "json_lines",
    ".ndjson": "json_lines",
    ".json": "json_lines",  # or a JSON array, which its first byte shows
    ".csv": "delimited",
    ".tsv": "delimited",
    ".arrow": "arrow_ipc",
}
COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_WITHIN = (*COMPRESSIONS, ".snappy", ".br", ".lz4")
"""Parquet compresses its own pages; pandas and Spark write how into the name."""

_UNPACK = {
    ".tar": "tar -xf",
    ".tgz": "tar -xf",
    ".tar.gz": "tar -xf",
    ".tar.bz2": "tar -xf",
    ".tar.xz": "tar -xf",
    ".tar.zst": "tar -xf",
    ".zip": "unzip",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".xz": "unxz --keep",
    ".lz4": "unlz4",
    ".br": "brotli -d",
}
"""Endings of archives, and of compressions that are not read -> the command that unpacks them."""

_WORKBOOK = "; save the sheet as CSV UTF-8"
_HINTS = {
    ".txt": "; end the name in .jsonl for one JSON object per line, in .tsv for cells with tabs",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), _WORKBOOK),
}

FIRST_BYTES = 512
"""Enough to know what a file is."""

_MAGIC = {
    b"\x1f\x8b": ("gzip", "compressed with gzip", "end its name in .gz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "compressed with Zstandard", "end its name in .zst"),
    b"BZh91AY&SY": ("bz2", "compressed with bzip2", "end its name in .bz2"),
    b"\xfd7zXZ\0": ("", "compressed with xz", "unpack it (unxz)"),
    b"PK\x03\x04": ("", "a zip archive", "unpack it (unzip)"),
    b"PAR1": ("parquet", "a Parquet file", "end its name in .parquet"),
    b"ARROW1": ("arrow_ipc", "an Arrow file", "end its name in .arrow"),
    b"SQLite format 3\0": ("", "an SQLite database", "export a table as CSV or JSON Lines"),
}
"""First bytes -> the format or compression, in words, and what to do where the name says other."""

_POINTER = b"version https://git-lfs.github.com/spec/"  # Git LFS, docs/spec.md
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<error>")


def format_of_name(file: str) -> FileFormat:
    """The format of a file, by its name.

    Raises:
        UsageError: no reader has this extension, as for all formats whose reading would run code
            (pickles, scripts).
    """
    lower = file.lower()
    unpack = next((command for e, command in _UNPACK.items() if lower.endswith(e)), "")
    within = next((e for e in _WITHIN if lower.endswith(e)), "")
    inner = lower.removesuffix(within)
    if inner.endswith((".parquet", ".pq")):
        return FileFormat("parquet")
    if unpack:
        raise UsageError(f"cannot read {file}: unpack it first, with `{unpack} {file}`")
    extension = next((e for e in EXTENSIONS if inner.endswith(e)), "")
    if not extension or (within and EXTENSIONS[extension] == "arrow_ipc"):
        hint = next((hint for e, hint in _HINTS.items() if inner.endswith(e)), "")
        raise UsageError(
            f"cannot read {file}: expected {', '.join(EXTENSIONS)} (text formats also with "
            f"{', '.join(COMPRESSIONS)}){hint}"
        )
    return FileFormat(
        name=EXTENSIONS[extension],
        compression=COMPRESSIONS.get(within),
        delimiter="\t" if extension == ".tsv" else ",",
    )


def check_first_bytes(path: str, file_format: FileFormat, start: bytes) -> None:
    """``BadInput`` where a file is something else than its name says: how to get the data.

    Args:
        path: the file's name, for the message.
        file_format: what its name says.
        start: the first ``FIRST_BYTES``.
    """
    if start.startswith(_POINTER):
        raise BadInput(
            f"{path} is a Git LFS pointer, not the data; fetch it with `git lfs pull` in its folder"
        )
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        raise BadInput(
            f"{path} is a page of a web site, such as a login or an error, not the data; log in "
            "where it was downloaded from, and download it again"
        )
    own = file_format.compression or file_format.name
    for magic, (kind, what, cure) in _MAGIC.items():
        if start.startswith(magic) and kind != own:
            raise BadInput(f"{path} is {what}, which its name does not say; {cure}")
    if file_format.compression and start and start.isascii():
        raise BadInput(f"{path} is plain text, not compressed with {own}; correct its name")
