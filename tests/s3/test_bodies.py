"""Bodies that break off: a read goes on where it was, and nobody waits for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from s3_servers import S3Server, Toxiproxy

from transforms.errors import StorageError
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.uri import S3Options


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, s3_server: S3Server) -> None:
    for name, value in s3_server.environment({}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(s3_client, "ATTEMPTS", 3)
    monkeypatch.setattr(s3_client, "_READ_SECONDS", 2)


@pytest.mark.parametrize("cut", [300_000, 1_500_000])
def test_a_read_goes_on_where_its_reply_was_cut(
    s3_server: S3Server, toxiproxy: Toxiproxy, bucket: str, impatient: None, cut: int
) -> None:
    data = bytes(range(256)) * 8192
    s3_server.client().put_object(Bucket=bucket, Key="big", Body=data)
    proxy = toxiproxy.proxy(s3_server.endpoint)
    place = Bucket(bucket, S3Options(endpoint_url=proxy.endpoint))
    proxy.add("limit_data", bytes=cut)
    blocks = place.chunks("big", 2**16)
    found = [next(blocks)]
    found.append(next(blocks))
    while sum(map(len, found)) < cut - 2**17:
        found.append(next(blocks))
    proxy.remove_all()  # the connection that is open still breaks at its limit
    assert b"".join([*found, *blocks]) == data


def test_a_read_that_never_ends_well_is_an_error(
    s3_server: S3Server, toxiproxy: Toxiproxy, bucket: str, impatient: None
) -> None:
    s3_server.client().put_object(Bucket=bucket, Key="big", Body=bytes(2**22))
    proxy = toxiproxy.proxy(s3_server.endpoint)
    proxy.add("limit_data", bytes=500_000)
    place = Bucket(bucket, S3Options(endpoint_url=proxy.endpoint))
    with pytest.raises(StorageError, match=f"s3://{bucket}/big"):
        list(place.chunks("big"))


@pytest.fixture
def half_continue() -> Iterator[str]:
    """A server that ends each connection within the reply ``100 Continue``."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_connection_that_ends_within_100_continue_is_an_error(
    impatient: None, half_continue: str, tmp_path: object
) -> None:
    bucket = Bucket("some-bucket", S3Options(endpoint_url=half_continue))
    with pytest.raises(StorageError):
        bucket.put("key", b"data")
