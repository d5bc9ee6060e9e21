"""S3's errors for a user: one sentence with bucket, key and remedy, and an exit code.

Codes and headers as in the S3 API reference ("Error responses") and botocore's ``exceptions``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transforms.errors import (
    AccessDenied,
    BadInput,
    DataPrepError,
    StorageError,
    UsageError,
    VerificationFailed,
)
from transforms.storage.s3.retries import REDIRECTS
from transforms.text.addresses import shown_address

if TYPE_CHECKING:
    from transforms.storage.s3.uri import S3Options

_PERMISSIONS = {
    # S3 answers 403 for what is not there to those who may not list.
    "GetObject": "s3:GetObject and s3:ListBucket",
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}  # every other operation here writes

_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
_WRONG = (
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"),
    *("UnrecognizedClientException", "InvalidClientTokenId", "XAdminInvalidAccessKey"),
)
_ELSEWHERE = (
    *("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301"),
    *("IllegalLocationConstraintException", "AuthorizationQueryParametersError"),
)
_ADDRESS = re.compile(r"\w+://\S+")
_BUSY = ("SlowDown", "RequestTimeout", "OperationAborted", "ConditionalRequestConflict")
_SIGN_IN = (
    "sign in (for example `aws sso login`), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "name a --profile"
)


def explain(
    error: Exception,
    bucket: str,
    key: str,
    options: S3Options,
    is_anothers: Callable[[], bool],
) -> DataPrepError | None:
    """The error that a user should see; None for one that is not S3's.

    ``is_anothers`` tells, after a refusal, whether the bucket has another owner than expected.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError
    from s3transfer.exceptions import (
        RetriesExceededError,
        S3DownloadFailedError,
        S3ValidationError,
    )

    where = f"s3://{bucket}/{key}"
    if isinstance(error, boto.ClientError):
        return _refused(error, bucket, where, options, is_anothers)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return AccessDenied(f"no AWS credentials for {where}: {_SIGN_IN}")
    if isinstance(
        error,
        (
            *(boto.CredentialRetrievalError, boto.TokenRetrievalError, boto.SSOTokenLoadError),
            *(boto.UnauthorizedSSOTokenError, boto.LoginError),
        ),
    ):
        return AccessDenied(f"no AWS credentials for {where} ({_short(error)}): {_SIGN_IN}")
    if isinstance(error, boto.SSLError):
        return UsageError(
            f"no safe connection to {_store(options)} for {where} ({_short(error)}): where its "
            "certificate is your own, name it in AWS_CA_BUNDLE; where it speaks plain HTTP, give "
            "--endpoint-url http://…"
        )
    if isinstance(error, boto.FlexibleChecksumError):
        return VerificationFailed(
            f"{where} came with bytes that are not those of its checksum: it is damaged in the "
            "store, or on the way; try again, then publish the set anew"
        )
    if isinstance(error, (boto.ParamValidationError, boto.InvalidRegionError)):
        return UsageError(f"S3 does not take this for {where}: {_short(error)}")
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        return StorageError(
            f"{_store(options)} cannot be reached for {where} ({type(error).__name__}): check the "
            "network and --endpoint-url, then run again"
        )
    if isinstance(error, (ResponseParserError, ValueError)):
        return StorageError(
            f"{_store(options)} sent something for {where} that is no reply of S3: check "
            "--endpoint-url, and whether a proxy or a sign-in page is between, then run again"
        )
    if isinstance(error, (S3DownloadFailedError, S3ValidationError)):
        return StorageError(f"{where} changed while it was fetched ({_short(error)}): run again")
    lost = (boto.BotoCoreError, RetriesExceededError)
    if isinstance(error, (*lost, ConnectionError, TimeoutError)):
        cause = getattr(error, "last_exception", None) or error
        return StorageError(
            f"the connection to {_store(options)} broke, also after retries, at {where} "
            f"({type(cause).__name__}): nothing unfinished is visible; run again later"
        )
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        room = ": make room" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        place = error.filename or "a local file"
        return StorageError(
            f"cannot write {place} for {where} ({error.strerror or error}){room}, then run again"
        )
    return None


def _refused(
    error: Any, bucket: str, where: str, options: S3Options, is_anothers: Callable[[], bool]
) -> DataPrepError:
    reply = error.response
    code = str(reply["Error"].get("Code", ""))
    status = reply["ResponseMetadata"].get("HTTPStatusCode", 0)
    headers = reply["ResponseMetadata"].get("HTTPHeaders", {})
    text = str(reply["Error"].get("Message", "")).strip().rstrip(".")
    if code == "NoSuchBucket" or (status == 404 and error.operation_name == "ListObjectsV2"):
        return UsageError(
            f"the bucket {bucket} does not exist at {_store(options)}: create it, or check the "
            "name (--s3-bucket) and --endpoint-url"
        )
    if code in _ELSEWHERE or status in REDIRECTS:
        region = headers.get("x-amz-bucket-region") or reply["Error"].get("Region")
        if not region and options.endpoint_url:
            onward = headers.get("location", "an address that it does not name")
            return UsageError(
                f"{_store(options)} sends requests for {where} on to {onward}: check "
                "--endpoint-url, and whether it wants https://"
            )
        hint = f"--region {region}" if region else "--region with the bucket's region"
        return UsageError(f"the bucket {bucket} is in another region than asked: add {hint}")
    if code in _EXPIRED:
        return AccessDenied(f"the AWS credentials have expired at {where}: {_SIGN_IN}")
    if code in _WRONG:
        store = _store(options)
        return AccessDenied(f"{store} refuses these credentials ({code}) for {where}: {_SIGN_IN}")
    if code == "RequestTimeTooSkewed":
        return AccessDenied(
            f"this machine's clock differs too much from that of {_store(options)} for {where}: "
            "set it right (timedatectl set-ntp true), then run again"
        )
    if status in (401, 403):
        if is_anothers():
            return UsageError(
                f"the bucket {bucket} does not belong to the account {options.expected_owner} "
                "(--expected-bucket-owner): nothing was sent; check the bucket's name"
            )
        needed = _PERMISSIONS.get(error.operation_name, "s3:PutObject")
        return AccessDenied(
            f"no permission for {where} ({code}): the IAM policy must allow {needed} on this bucket"
        )
    if status == 404:
        return BadInput(f"{where} is not there")
    if status == 400 and code in ("InvalidDigest", "BadDigest", "XAmzContentSHA256Mismatch"):
        return StorageError(
            f"{where} arrived damaged and was not stored ({code}): run again; if it lasts, the "
            "network or this machine's memory is faulty"
        )
    if 400 <= status < 500 and code not in _BUSY and status not in (408, 409, 425, 429):
        plain = code == "400" and _store(options).startswith("http:")  # no error of S3's
        hint = "; where it speaks TLS, give --endpoint-url https://…" if plain else ""
        return UsageError(f"{_store(options)} refused the request for {where}: {code} {text}{hint}")
    full = " (its disk is full)" if "space" in text.lower() or status == 507 else ""
    return StorageError(
        f"{_store(options)} answered {status} {code} for {where}, also after retries{full}: "
        "nothing unfinished is visible; run again later"
    )


def _store(options: S3Options) -> str:
    return options.endpoint_url or "S3"


def _short(error: Exception) -> str:
    text = _ADDRESS.sub(
        lambda found: shown_address(found[0], is_address=True), " ".join(str(error).split())
    )
    return text if len(text) <= 200 else f"{text[:200]}…"
