"""Where and how S3 is reached: addresses that are safe everywhere, and options without a secret.

Credentials come from each process's own environment, so nothing secret is ever in an ``S3Options``,
a plan or a pickled DoFn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from transforms.declaration import Group, check_options, options_of
from transforms.errors import UsageError
from transforms.text.addresses import shown_address

S3 = Group("S3", "credentials come from the AWS environment")

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"https?://[^/@?#\\\s]+(/[^@?#\\\s]*)?")
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
    """An address for a message."""
    return repr(shown_address(address, is_address=True))


def _account(value: str) -> str:
    return "" if re.fullmatch(r"\w{1,64}", value) else "must be an account number"


@dataclass(frozen=True, slots=True)
class S3Options:
    """How S3 is reached and written to; None leaves it to the AWS environment."""

    endpoint_url: str | None = S3.option(
        None,
        "address of another store with the S3 API",
        metavar="URL",
        default_text="AWS, or AWS_ENDPOINT_URL_S3",
    )
    region: str | None = S3.option(
        None, "region of the bucket", metavar="NAME", default_text="from the AWS environment"
    )
    profile: str | None = S3.option(
        None,
        "profile of the AWS configuration files",
        metavar="NAME",
        default_text="from the AWS environment",
    )
    expected_owner: str | None = S3.option(
        None,
        "refuse a bucket that another account owns",
        flag="--expected-bucket-owner",
        metavar="ACCOUNT",
        default_text="any owner",
        check=_account,
    )
    sse: str | None = S3.option(
        None, "encryption at rest", choices=("AES256", "aws:kms"), default_text="that of the bucket"
    )
    sse_key: str | None = S3.option(
        None,
        "KMS key for --sse aws:kms",
        flag="--sse-kms-key-id",
        metavar="KEY",
        default_text="that of the bucket",
    )
    checksums: str = S3.option(
        "when_supported",
        "when to compute checksums; when_required suits a store that does not support them",
        flag="--request-checksum-calculation",
        choices=("when_supported", "when_required"),
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.sse_key and self.sse != "aws:kms":
            raise UsageError("--sse-kms-key-id needs --sse aws:kms")
        if self.endpoint_url and not _ENDPOINT.fullmatch(self.endpoint_url):
            raise UsageError(
                f"--endpoint-url {_shown(self.endpoint_url)} is no address; expected "
                "https://HOST or http://HOST:PORT, without a user or password and without a query"
            )

    def flags(self) -> list[str]:
        """The command line's flags that give these options."""
        given = [(one, getattr(self, one.name)) for one in options_of(type(self))]
        return [
            word
            for one, value in given
            if value and value != one.default
            for word in (one.flag, value)
        ]
