"""The S3 client of a process: one for all its threads, with this project's retries and limits."""

from __future__ import annotations

import os
import threading
from typing import Any

from transforms.errors import UsageError
from transforms.storage.s3.retries import retry_more
from transforms.storage.s3.uri import S3Options

THREADS = 8
"""How many parts of a transfer go over at a time."""

ATTEMPTS = 6
"""Tries of one request, the first among them."""

_CONNECT_SECONDS, _READ_SECONDS = 5, 60

_clients: dict[S3Options, Any] = {}
_making = threading.Lock()


def client_for(options: S3Options) -> Any:
    """This process's client for these options; clients may be shared by threads, not by forks."""
    with _making:
        if options not in _clients:
            _clients[options] = _new_client(options)
        return _clients[options]


os.register_at_fork(after_in_child=_clients.clear)


def _new_client(options: S3Options) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        CredentialRetrievalError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    retries: dict[str, Any] = {"mode": "standard"}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        retries["total_max_attempts"] = ATTEMPTS
    config = Config(
        retries=retries,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=4 * THREADS,
        request_checksum_calculation=options.checksums,
        response_checksum_validation=options.checksums,
    )
    try:
        session = boto3.Session(profile_name=options.profile, region_name=options.region)
        client = session.client("s3", endpoint_url=options.endpoint_url, config=config)
    except ProfileNotFound as error:
        raise UsageError(f"--profile: {error}; see `aws configure list-profiles`") from error
    except (CredentialRetrievalError, PartialCredentialsError):
        raise  # these are explained
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise UsageError(f"S3 cannot be set up: {error}") from error
        # Without the value, and without the error that has it: it may hold a password.
        raise UsageError(
            "the endpoint that the AWS environment sets (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or "
            "endpoint_url of the profile) is no address; expected https://HOST or http://HOST:PORT"
        ) from None
    except BotoCoreError as error:
        raise UsageError(f"S3 cannot be set up: {error}") from error
    retry_more(client)
    return client
