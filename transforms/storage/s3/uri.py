"""Where and how S3 is reached: addresses that are safe everywhere, and options without a secret.

Credentials come from each process's own environment, so nothing secret is ever in an ``S3Options``,
a plan or a pickled DoFn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from transforms.errors import UsageError

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._=+@,()!*'/-]*")


def is_s3(path: str) -> bool:
    """Is this meant as an S3 address rather than a local path?"""
    return path.lower().startswith("s3:")


@dataclass(frozen=True, slots=True)
class S3Uri:
    """``s3://BUCKET/PREFIX``; the prefix has no slash at an end, and is "" for the whole bucket."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, uri: str, flag: str = "the address") -> S3Uri:
        """The place of an address; ``UsageError``, naming ``flag``, for one that asks for trouble.

        Refused are keys that URLs, shells or local paths would take for something else.
        """
        if not uri.startswith("s3://"):
            raise UsageError(f"{flag} {_shown(uri)} is no S3 address; expected s3://BUCKET/PREFIX")
        bucket, _, prefix = uri[len("s3://") :].partition("/")
        check_bucket_name(bucket, flag, uri)
        parts = prefix.removesuffix("/").split("/") if prefix else []
        prefix = prefix.removesuffix("/")
        if not _PREFIX.fullmatch(prefix) or any(part in ("", ".", "..") for part in parts):
            raise UsageError(
                f"{flag} {_shown(uri)} holds an empty part, '..', a space or another character "
                "that addresses cannot hold everywhere; use letters, digits and - _ . = /"
            )
        return cls(bucket, prefix)

    @property
    def uri(self) -> str:
        """The address, without a closing slash."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, name: str) -> str:
        """The key of a file below this place."""
        return f"{self.prefix}/{name}" if self.prefix else name


def check_bucket_name(name: str, flag: str, given: str) -> None:
    """``UsageError`` for a name that no bucket can have."""
    if not _BUCKET_NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{flag} {_shown(given)} names no bucket: expected 3 to 63 lower-case letters, digits, "
            "dots and hyphens"
        )


def _shown(address: str) -> str:
    """An address for a message: a user and password that were put into it stay out."""
    return repr(re.sub(r"//[^/]*@", "//…@", address))


@dataclass(frozen=True, slots=True)
class S3Options:
    """How S3 is reached and written to; None takes what the AWS environment says.

    Attributes:
        endpoint_url: another store that speaks S3 (MinIO, R2, …).
        region: the bucket's region.
        profile: a profile of the AWS configuration files.
        expected_owner: the account that must own the bucket, on every request.
        sse: ``AES256`` or ``aws:kms``: encryption at rest.
        sse_key: the KMS key for ``aws:kms``.
        checksums: ``when_supported``, or ``when_required`` for stores that know no checksums.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    expected_owner: str | None = None
    sse: str | None = None
    sse_key: str | None = None
    checksums: str = "when_supported"

    def __post_init__(self) -> None:
        if self.expected_owner is not None and not re.fullmatch(r"\w{1,64}", self.expected_owner):
            raise UsageError(
                f"--expected-bucket-owner {self.expected_owner!r} is no account number"
            )
        if self.sse not in (None, "AES256", "aws:kms"):
            raise UsageError(f"--sse must be AES256 or aws:kms, found {self.sse!r}")
        if self.sse_key and self.sse != "aws:kms":
            raise UsageError("--sse-kms-key-id goes with --sse aws:kms")
        if self.checksums not in ("when_supported", "when_required"):
            raise UsageError(
                "--request-checksum-calculation must be when_supported or when_required, found "
                f"{self.checksums!r}"
            )
        if self.endpoint_url and not re.match(r"https?://[^/@]+(/|$)", self.endpoint_url):
            raise UsageError(
                f"--endpoint-url {_shown(self.endpoint_url)} is no address; expected "
                "https://HOST or http://HOST:PORT, without a user or password"
            )

    def flags(self) -> list[str]:
        """The command line's flags that give these options."""
        given = {
            "--endpoint-url": self.endpoint_url,
            "--region": self.region,
            "--profile": self.profile,
            "--expected-bucket-owner": self.expected_owner,
            "--sse": self.sse,
            "--sse-kms-key-id": self.sse_key,
        }
        flags = [word for flag, value in given.items() if value for word in (flag, value)]
        if self.checksums != "when_supported":
            flags += ["--request-checksum-calculation", self.checksums]
        return flags
