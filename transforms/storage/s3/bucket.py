"""S3 as this project uses it: a few operations, checked by the server, whose errors name the cure.

boto3 sends the requests, does all retries, and transfers large files in parts.  Credentials come
from each process's own environment, so nothing secret is ever in an ``S3Options``, a plan or a
pickled DoFn.
Needed are ``s3:PutObject``, ``s3:GetObject`` and ``s3:ListBucket``, and ``s3:DeleteObject`` for
``Bucket.delete`` alone.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from transforms.errors import BadInput, StorageError, VerificationFailed
from transforms.storage.checksums import hash_file
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.uri import S3Options

PART_BYTES = 16 * 2**20
"""The size of each part but the last: some stores (R2) want equal parts, S3 takes 10,000."""

_WHOLE_BYTES = 32 * 2**20  # up to here one request, whose SHA-256 the server checks and keeps
_SHA256 = "sha256"  # the metadata key; S3 keeps no SHA-256 of an object that came in parts
MANIFEST_SHA256 = "manifest-sha256"
"""Metadata key of a set's last object: the digest of the manifest that it was published with."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of an object: bytes, SHA-256 in hex (None if it has none), times."""

    size: int
    sha256: str | None
    etag: str
    modified: datetime
    now: datetime
    """The store's own clock when it answered."""
    manifest_sha256: str | None = None
    """What ``MANIFEST_SHA256`` says, of the object that has it."""


class Conflict(Exception):
    """The condition of a write does not hold: the object exists, or has changed."""


class TooLarge(Exception):
    """An object has more bytes than are to be read."""


@dataclass(frozen=True)
class Bucket:
    """One bucket with the options to reach it.  Threads may share it.

    Raises ``transforms.errors.DataPrepError`` with bucket and key, and what to do.
    """

    name: str
    options: S3Options = S3Options()

    @cached_property
    def _client(self) -> Any:
        return s3_client.client_for(self.options)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "options": self.options}  # a client stays in its process

    @property
    def _owner(self) -> dict[str, str]:
        owner = self.options.expected_owner
        return {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def _writing(self) -> dict[str, str]:
        more = {"ServerSideEncryption": self.options.sse, "SSEKMSKeyId": self.options.sse_key}
        return {**self._owner, **{name: value for name, value in more.items() if value}}

    def head(self, key: str) -> Stored | None:
        """What the store says of an object; None if it does not exist."""
        from botocore.exceptions import ClientError

        where = {"Bucket": self.name, "Key": key, **self._owner}
        with self._explained(key):
            try:
                answer = _or_none(lambda: self._client.head_object(ChecksumMode="ENABLED", **where))
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403):
                    # The reply to a HEAD has no body, so it cannot say why; that to a GET can.
                    self._client.get_object(Range="bytes=0-0", **where)["Body"].close()
                raise
        return _stored(answer) if answer else None

    def get(self, key: str, most: int | None = None) -> tuple[bytes, Stored] | None:
        """A small object whole; None where there is none, ``TooLarge`` above ``most`` bytes."""
        with self._explained(key):
            answer = _or_none(
                lambda: self._client.get_object(Bucket=self.name, Key=key, **self._owner)
            )
            if answer and most is not None and answer["ContentLength"] > most:
                answer["Body"].close()
                raise TooLarge
            return (answer["Body"].read(), _stored(answer)) if answer else None

    def chunks(self, key: str, size: int = 2**20) -> Iterator[bytes]:
        """The bytes of an object as they arrive; a reply that is cut is resumed where it ended."""
        at, left = 0, s3_client.ATTEMPTS
        onward: dict[str, str] = {}
        with self._explained(key):
            while True:
                where = {"Bucket": self.name, "Key": key, **self._owner, **onward}
                answer = self._client.get_object(**where)
                end = at + answer["ContentLength"]
                left -= 1
                with suppress(*_cut_off()):
                    for block in answer["Body"].iter_chunks(size):
                        at += len(block)
                        yield block
                if at == end:
                    return
                if not left:
                    raise StorageError(
                        f"the connection broke off after {at:,} of {end:,} bytes of s3://"
                        f"{self.name}/{key}, also after retries: run again later"
                    )
                onward = {"Range": f"bytes={at}-", "IfMatch": answer["ETag"]}

    def put(
        self, key: str, data: bytes, match: str | None = None, manifest_sha256: str | None = None
    ) -> str:
        """Writes a small object; returns its ETag.  ``manifest_sha256`` is kept beside it.

        With ``match`` only over the object of that ETag, with ``match=""`` only where there is
        none, else ``Conflict``.  A lost reply may also end as ``Conflict`` or ``StorageError``
        although the object was written: read it back.
        """
        digest = sha256(data)
        condition = {} if match is None else {"IfMatch": match} if match else {"IfNoneMatch": "*"}
        kept = {MANIFEST_SHA256: manifest_sha256} if manifest_sha256 else {}
        from botocore.exceptions import ClientError

        with self._explained(key):
            try:
                answer = self._client.put_object(
                    Bucket=self.name,
                    Key=key,
                    Body=data,
                    Metadata={_SHA256: digest.hexdigest(), **kept},
                    **self._whole_checksum(digest.digest()),
                    **self._writing,
                    **condition,
                )
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if match is not None and status in (404, 409, 412):
                    raise Conflict from error
                raise
        return str(answer["ETag"])

    def upload(
        self,
        path: Path,
        key: str,
        size: int,
        digest: str,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """Sends a local file, in parts if it is large; returns once the store has checked it.

        ``digest`` is the SHA-256 in hex that its bytes must have, ``sent`` is called with
        the number of bytes sent.  An upload that fails is aborted, where the permission allows.
        """
        checksum = self._checked(path, size, digest)
        extra = {"Metadata": {_SHA256: digest}, **checksum, **self._writing}
        try:
            with self._explained(key), self._transfers() as transfers:
                on_bytes = [_Progress(sent)] if sent else None
                transfers.upload(str(path), self.name, key, extra, on_bytes).result()
        except BadInput as error:  # no such upload: a request whose reply was lost completed it?
            found = self.head(key)
            if found is None or (found.size, found.sha256) != (size, digest):
                raise StorageError(
                    f"the upload of s3://{self.name}/{key} was ended by something else: run again"
                ) from error
        except StorageError as error:
            if size <= _WHOLE_BYTES:
                raise
            raise StorageError(
                f"{error}. Parts of it may be left pending there, unseen but billed: a run that "
                "completes removes them, as does a lifecycle rule that ends incomplete uploads"
            ) from error

    def _checked(self, path: Path, size: int, digest: str) -> dict[str, str]:
        """Reads the file once more: what is sent must be what was hashed when it was made."""
        crc = 0

        def checksum(block: bytes) -> None:
            nonlocal crc
            crc = zlib.crc32(block, crc)

        length, found = hash_file(path, checksum if size > _WHOLE_BYTES else None)
        if (length, found) != (size, digest):
            raise VerificationFailed(
                f"{path} is not what was written ({length:,} of {size:,} bytes, SHA-256 "
                f"{found[:12]} for {digest[:12]}): the disk or memory is faulty, or "
                "the file was changed; make the set again"
            )
        if self.options.checksums == "when_required":
            return {}
        if size <= _WHOLE_BYTES:
            return self._whole_checksum(bytes.fromhex(found))
        return {"ChecksumCRC32": base64.b64encode(crc.to_bytes(4, "big")).decode()}

    def _whole_checksum(self, digest: bytes) -> dict[str, str]:
        if self.options.checksums == "when_required":
            return {}
        return {"ChecksumSHA256": base64.b64encode(digest).decode()}

    def download(self, key: str, path: Path, received: Callable[[int], None] | None = None) -> None:
        """Downloads an object into a local file, which appears whole; large ones in parts."""
        with self._explained(key), self._transfers() as transfers:
            on_bytes = [_Progress(received)] if received else None
            transfers.download(self.name, key, str(path), self._owner, on_bytes).result()

    @contextmanager
    def _transfers(self) -> Iterator[Any]:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=_WHOLE_BYTES + 1,
            multipart_chunksize=PART_BYTES,
            max_concurrency=s3_client.THREADS,
            num_download_attempts=2,  # of a body that breaks; each asks as often as any request
            preferred_transfer_client="classic",
        )
        with create_transfer_manager(self._client, config) as manager:
            yield manager

    def keys(self, prefix: str) -> Iterator[tuple[str, int, datetime]]:
        """(key, bytes, last change) of every object whose key starts with ``prefix``, in order."""
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, **self._owner
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"], found["Size"], found["LastModified"]

    def folders(self, prefix: str) -> Iterator[str]:
        """The names right below ``prefix`` (which ends with a slash or is "") that hold keys."""
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=prefix, Delimiter="/", **self._owner
            )
            for page in pages:
                for found in page.get("CommonPrefixes", ()):
                    yield found["Prefix"][len(prefix) :].rstrip("/")

    def abort_uploads(self, prefix: str, is_ours: Callable[[str], bool]) -> int:
        """Ends uploads that were begun below ``prefix`` and never completed; how many.

        ``is_ours`` says by a key's name below ``prefix`` whether its upload may be ended.
        """
        count = 0
        with self._explained(prefix):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.name, Prefix=prefix, **self._owner
            )
            for page in pages:
                for found in page.get("Uploads", ()):
                    if not is_ours(found["Key"].removeprefix(prefix)):
                        continue
                    where = {"Key": found["Key"], "UploadId": found["UploadId"]}
                    self._client.abort_multipart_upload(Bucket=self.name, **where, **self._owner)
                    count += 1
        return count

    def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects in this order, one request each."""
        for key in keys:
            with self._explained(key):
                self._client.delete_object(Bucket=self.name, Key=key, **self._owner)

    def _is_anothers(self) -> bool:
        """Is the bucket there, but not the expected owner's?"""
        from botocore.exceptions import ClientError

        if not self.options.expected_owner:
            return False
        try:
            self._client.head_bucket(Bucket=self.name)
        except ClientError:
            return False
        return True

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        from transforms.storage.s3.errors import explain

        try:
            yield
        except Exception as error:
            named = explain(error, self.name, key, self.options, self._is_anothers)
            if named is None:
                raise
            raise named from error


def _cut_off() -> tuple[type[Exception], ...]:
    from botocore import exceptions as boto

    return boto.IncompleteReadError, boto.ReadTimeoutError, boto.ResponseStreamingError


def _or_none(ask: Callable[[], Any]) -> Any:
    """The answer, or None where the object is not there."""
    from botocore.exceptions import ClientError

    try:
        return ask()
    except ClientError as error:
        missing = error.response["ResponseMetadata"]["HTTPStatusCode"] == 404
        if missing and error.response["Error"]["Code"] in ("NoSuchKey", "404", "NotFound"):
            return None
        raise


def _stored(answer: Mapping[str, Any]) -> Stored:
    known = answer.get("ChecksumSHA256", "")
    whole = known and "-" not in known  # else it is a checksum of the parts' checksums
    return Stored(
        size=answer["ContentLength"],
        sha256=base64.b64decode(known).hex() if whole else answer["Metadata"].get(_SHA256),
        etag=answer["ETag"],
        modified=answer["LastModified"],
        now=parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]),
        manifest_sha256=answer["Metadata"].get(MANIFEST_SHA256),
    )


class _Progress:
    """What the transfer manager calls a subscriber, for a plain function."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes

    def on_queued(self, **_: object) -> None:
        """A transfer waits."""

    def on_progress(self, bytes_transferred: int, **_: object) -> None:
        """Bytes went over; negative where they must go again."""
        self._on_bytes(bytes_transferred)

    def on_done(self, **_: object) -> None:
        """A transfer ended."""
