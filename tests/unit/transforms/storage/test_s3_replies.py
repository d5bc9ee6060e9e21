"""What a store's replies mean: which are tried again, and which error a user sees for the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ParamValidationError,
)
from botocore.hooks import HierarchicalEmitter

from transforms.errors import AccessDenied, BadInput, DataPrepError, StorageError, UsageError
from transforms.storage.s3.errors import explain
from transforms.storage.s3.retries import retry_more
from transforms.storage.s3.uri import S3Options, S3Uri

ENDPOINT = "http://store.example:9000"
WHOLE = {"etag": "e", "last-modified": "d", "content-length": "1", "date": "d"}


def refusal(
    status: int,
    code: str,
    operation: str = "PutObject",
    message: str = "",
    headers: dict[str, str] | None = None,
) -> ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    reply: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}
    return ClientError(reply, operation)


def explained(
    error: Exception, endpoint: str | None = None, anothers: bool = False
) -> DataPrepError:
    options = S3Options(endpoint_url=endpoint)
    found = explain(error, "bucket", "key", options, lambda: anothers)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (refusal(404, "NoSuchBucket"), UsageError, "does not exist"),
        (refusal(404, "404", "ListObjectsV2"), UsageError, "does not exist"),
        (refusal(404, "NoSuchKey", "GetObject"), BadInput, "is not there"),
        (refusal(400, "ExpiredToken"), AccessDenied, "have expired"),
        (refusal(403, "SignatureDoesNotMatch"), AccessDenied, "refuses these credentials"),
        (refusal(403, "RequestTimeTooSkewed"), AccessDenied, "clock"),
        (refusal(403, "AccessDenied"), AccessDenied, "must allow s3:PutObject on"),
        (refusal(401, "Denied", "DeleteObject"), AccessDenied, "must allow s3:DeleteObject on"),
        (refusal(400, "BadDigest"), StorageError, "arrived damaged"),
        (refusal(400, "InvalidDigest"), StorageError, "arrived damaged"),
        (refusal(400, "EntityTooLarge"), UsageError, "refused the request"),
        (refusal(499, "Odd"), UsageError, "refused the request"),
        (refusal(400, "RequestTimeout"), StorageError, "also after retries"),
        (refusal(408, "Odd"), StorageError, "also after retries"),
        (refusal(409, "Odd"), StorageError, "also after retries"),
        (refusal(425, "Odd"), StorageError, "also after retries"),
        (refusal(429, "Odd"), StorageError, "also after retries"),
        (refusal(500, "Odd"), StorageError, "also after retries: "),
        (refusal(507, "Odd"), StorageError, "(its disk is full)"),
        (refusal(500, "Odd", message="No Space left"), StorageError, "(its disk is full)"),
        (refusal(301, "301"), UsageError, "--region with the bucket's region"),
        (refusal(307, "Odd"), UsageError, "--region with the bucket's region"),
        (ParamValidationError(report="odd"), UsageError, "does not take this"),
        (EndpointConnectionError(endpoint_url=ENDPOINT), StorageError, "cannot be reached"),
    ],
    ids=str,
)
def test_a_refusal_says_what_to_do(error: Exception, kind: type, says: str) -> None:
    found = explained(error)
    assert type(found) is kind
    assert says in str(found)


def test_a_bucket_elsewhere_names_its_region_or_the_address_of_a_store_that_sends_on() -> None:
    region = refusal(301, "301", headers={"x-amz-bucket-region": "eu-west-1"})
    assert "add --region eu-west-1" in str(explained(region))
    assert "add --region eu-west-1" in str(explained(region, ENDPOINT))
    onward = refusal(301, "301", headers={"location": "https://store.example"})
    assert "on to https://store.example: check" in str(explained(onward, ENDPOINT))


def test_a_denied_request_to_anothers_bucket_is_about_the_owner() -> None:
    found = explained(refusal(403, "AccessDenied"), anothers=True)
    assert type(found) is UsageError
    assert "does not belong to the account" in str(found)


def test_a_long_text_of_a_store_is_cut() -> None:
    assert str(explained(ParamValidationError(report="x" * 500))).endswith("x…")
    assert not str(explained(ParamValidationError(report="x" * 50))).endswith("…")


class Retries:
    """What a client with three attempts does about a reply."""

    def __init__(self) -> None:
        self.events = HierarchicalEmitter()
        config = SimpleNamespace(retries={"total_max_attempts": 3})
        retry_more(SimpleNamespace(meta=SimpleNamespace(config=config, events=self.events)))

    def pauses(
        self,
        status: int,
        code: str = "",
        operation: str = "PutObject",
        headers: dict[str, str] = WHOLE,
        attempts: int = 1,
    ) -> list[float]:
        """The pauses asked for: none, where the reply is taken as it is."""
        parsed = {"Error": {"Code": code}} if code else {}
        replies = self.events.emit(
            f"needs-retry.s3.{operation}",
            response=(SimpleNamespace(status_code=status, headers=headers), parsed),
            operation=SimpleNamespace(name=operation),
            attempts=attempts,
            request_dict={"url": ENDPOINT},
        )
        return [pause for _, pause in replies if pause is not None]


@pytest.mark.parametrize(
    ("status", "code"),
    [(408, ""), (425, ""), (429, ""), (409, "OperationAborted"), (400, "BadDigest")],
)
def test_a_busy_store_is_asked_again_until_the_last_attempt(status: int, code: str) -> None:
    asked = Retries()
    assert len(asked.pauses(status, code)) == 1
    assert len(asked.pauses(status, code, attempts=2)) == 1
    assert asked.pauses(status, code, attempts=3) == []


@pytest.mark.parametrize(("status", "code"), [(200, ""), (403, "AccessDenied"), (409, "Odd")])
def test_another_reply_is_left_to_boto3(status: int, code: str) -> None:
    assert Retries().pauses(status, code) == []


@pytest.mark.parametrize("missing", WHOLE)
def test_a_reply_cut_in_its_headers_is_asked_for_again_and_then_a_broken_connection(
    missing: str,
) -> None:
    cut = {name: value for name, value in WHOLE.items() if name != missing}
    assert len(Retries().pauses(200, operation="GetObject", headers=cut)) == 1
    with pytest.raises(ConnectionClosedError):
        Retries().pauses(200, operation="GetObject", headers=cut, attempts=3)


def test_replies_without_a_body_or_of_an_error_are_whole_without_headers() -> None:
    for status in (199, 204, 300, 404):
        assert Retries().pauses(status, operation="GetObject", headers={}) == []
    assert Retries().pauses(200, operation="HeadBucket", headers={}) == []
    assert len(Retries().pauses(200, operation="DeleteObject", headers={})) == 1
    assert Retries().pauses(200, operation="DeleteObject", headers={"connection": "close"}) == []


def test_a_bucket_elsewhere_is_asked_about_once() -> None:
    with pytest.raises(ClientError):
        Retries().pauses(301, "301", "HeadBucket", headers={})
    known = {"x-amz-bucket-region": "eu-west-1"}
    assert Retries().pauses(301, "301", "HeadBucket", headers=known) == []


def test_an_address_is_a_bucket_and_a_prefix_without_slashes_at_its_ends() -> None:
    place = S3Uri.parse("s3://bucket/some/set/")
    assert (place.bucket, place.prefix, place.uri) == ("bucket", "some/set", "s3://bucket/some/set")
    assert place.key("a.json") == "some/set/a.json"
    whole = S3Uri.parse("s3://bucket")
    assert (whole.prefix, whole.uri, whole.key("a.json")) == ("", "s3://bucket", "a.json")


@pytest.mark.parametrize(
    "address", ["/tmp/x", "s3:/bucket/x", "s3://b", "s3://bucket//x", "s3://bucket/../x"]
)
def test_an_address_that_asks_for_trouble_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        S3Uri.parse(address)
