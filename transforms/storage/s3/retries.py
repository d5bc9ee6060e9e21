"""What boto3 does not try again by itself, although it passes: busy stores, and broken replies.

Tried again as often, and with such pauses, as what boto3 knows:

    408, 425, 429          busy or too early, of stores with error codes of their own
    409 of some codes      another write is under way
    400 of a checksum      the bytes changed on the way, so they were not stored
    2xx without its end    ``http.client`` takes a reply that was cut in its headers for a whole one

And one thing that it would wait for without an end: botocore's ``AWSConnection._consume_headers``
(1.43) reads on for ever where a connection ends within the reply ``100 Continue``.  So bodies are
sent without asking for that reply first.
"""

from __future__ import annotations

import random
from typing import Any

_STATUSES = (408, 425, 429)
_CODES = (
    *("OperationAborted", "ConditionalRequestConflict"),
    *("BadDigest", "XAmzContentSHA256Mismatch"),
)
_LONGEST_SECONDS = 20.0

REDIRECTS = (301, 302, 307, 308)

_OF_OBJECTS = ("etag", "last-modified", "content-length", "date")
_READ = {
    "GetObject": _OF_OBJECTS,
    "HeadObject": _OF_OBJECTS,
    "PutObject": ("etag",),
    "UploadPart": ("etag",),
}
"""The headers that are read of a reply without a body that says as much."""

_FRAMING = ("content-length", "transfer-encoding", "connection")
"""Every other reply with a body has one of these."""


def retry_more(client: Any) -> None:
    """Adds these to what a client tries again."""
    most = client.meta.config.retries["total_max_attempts"]

    def pause(
        response: tuple[Any, Any] | None,
        operation: Any,
        attempts: int,
        request_dict: Any,
        **_: object,
    ) -> float | None:
        if response is None:
            return None  # no reply at all: boto3 knows what to do
        answer, parsed = response
        cut = _is_cut(answer, operation.name)
        if attempts < most and (cut or _is_busy(answer, parsed)):
            longest = min(2.0 ** (attempts - 1), _LONGEST_SECONDS)
            return random.random() * longest  # noqa: S311 (so that many do not come back at once)
        if cut:
            from botocore.exceptions import ConnectionClosedError

            raise ConnectionClosedError(endpoint_url=request_dict["url"])
        return None

    client.meta.events.register("needs-retry.s3", pause)
    client.meta.events.register_first("needs-retry.s3.HeadBucket", _stop_asking)
    client.meta.events.register_last("before-call.s3", _do_not_ask_first)


def _stop_asking(response: tuple[Any, Any] | None, operation: Any, **_: object) -> None:
    """boto3 asks so for a bucket's region; told to go elsewhere, it would ask again without end."""
    if response is None:
        return
    answer, parsed = response
    if answer.status_code in REDIRECTS and "x-amz-bucket-region" not in answer.headers:
        from botocore.exceptions import ClientError

        raise ClientError(parsed, operation.name)


def _do_not_ask_first(params: Any, **_: object) -> None:
    params["headers"].pop("Expect", None)


def _is_busy(answer: Any, parsed: Any) -> bool:
    return answer.status_code in _STATUSES or parsed.get("Error", {}).get("Code") in _CODES


def _is_cut(answer: Any, operation: str) -> bool:
    if not 200 <= answer.status_code < 300 or answer.status_code == 204:
        return False
    if operation in _READ:
        return any(name not in answer.headers for name in _READ[operation])
    return operation != "HeadBucket" and not any(name in answer.headers for name in _FRAMING)
