"""A file of a hub data set, read by range requests with retries."""

from __future__ import annotations

import io

from transforms.errors import StorageError

_LEAST_FETCH = 2**16
_MOST_FETCH = 8 * 2**20
_HELD_FETCHES = 4
"""Bytes of one request to the hub, and responses that an open file keeps: one for each of some
columns that are read in parallel."""

_TIMEOUT_SECONDS = 15.0
_RETRIES = 9
_LONGEST_WAIT = 16.0
"""Waits of 1, 2, 4, 8, 16, 16, … seconds: a job survives an outage of a minute and a half."""


class HubFile(io.RawIOBase):
    """``hf://datasets/NAME@COMMIT/FILE`` as a seekable file: a read gives all bytes or an error.

    The environment or the stored login authenticates it.  The opener of ``datasets`` does not
    serve.  It fetches 5 MiB around every jump, so that Parquet columns which are read in parallel
    are fetched several times, together with columns that are not read.  It waits for up to a
    quarter of an hour, but not where a worker resolves the repository again.  And it reports a
    revoked login as a missing file.
    """

    def __init__(self, address: str) -> None:
        from huggingface_hub import hf_hub_url

        name, _, place = address.removeprefix("hf://datasets/").partition("@")
        commit, _, file = place.partition("/")
        self._url = hf_hub_url(name, file, repo_type="dataset", revision=commit)
        self._address, self._at = address, 0
        data, self._size = self._fetch(0, _LEAST_FETCH)  # the response has the size
        self._held = [(0, data)]  # (position, bytes), the latest last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        parts = []
        while self._at < end:
            part = self._part(self._at, end)
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def _part(self, start: int, end: int) -> bytes:
        """One or more of the bytes from ``start`` to ``end``, kept or fetched."""
        for at, data in self._held:
            if at <= start < at + len(data):
                return data[start - at : end - at]
        # A read that continues, or skips less than was read before, doubles the size of a request;
        # a jump fetches no more than is needed.
        before = next(
            (h for h in self._held if 0 <= start - (h[0] + len(h[1])) < len(h[1])), (0, b"")
        )
        ahead = max(_LEAST_FETCH, min(2 * len(before[1]), _MOST_FETCH))
        data, _ = self._fetch(start, min(max(end, start + ahead), self._size))
        others = [h for h in self._held if h is not before]
        self._held = [*others[1 - _HELD_FETCHES :], (start, data)]
        return data[: end - start]

    def _fetch(self, start: int, stop: int) -> tuple[bytes, int]:
        """The bytes from ``start`` to ``stop`` or the end of the file, and the file's size."""
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        response = http_backoff(
            "GET",
            self._url,
            headers={**build_hf_headers(), **headers},
            timeout=_TIMEOUT_SECONDS,
            max_retries=_RETRIES,
            max_wait_time=_LONGEST_WAIT,
        )
        if response.status_code == 416:  # the file is empty
            return b"", 0
        hf_raise_for_status(response)
        data = bytes(response.content)
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        size = int(total) if total.isdecimal() else 0
        if len(data) != min(stop, size) - start:
            raise StorageError(
                f"the hub sent {len(data):,} bytes of {self._address}, expected bytes {start:,} "
                f"to {stop:,} of {total or 'unknown'}; run again later"
            )
        return data, size
