"""Notes the writes that a command sends to S3, and ends it before one of them."""

from __future__ import annotations

import os
import re
from typing import Any

CRASHED = 99  # the exit code of a command that was made to crash


def count_writes(crash: int | str) -> None:
    """Dies before the write of this number, from 1 (0 is never), or the first like a pattern."""
    from transforms.storage.s3 import bucket as s3_bucket
    from transforms.storage.s3 import client as s3_client

    s3_bucket._WHOLE_BYTES = 2**18
    log = open("writes", "a", buffering=1)  # noqa: SIM115 (open until the process ends)
    count = 0

    def on_bytes(request: Any, **_: object) -> None:
        nonlocal count
        if request.method not in ("PUT", "POST", "DELETE"):
            return
        count += 1
        write = f"{request.method} {request.url.split('/', 3)[-1]}"
        if re.match(crash, write) if isinstance(crash, str) else count == crash:
            os._exit(CRASHED)
        print(write, file=log)

    s3_client.client_for(s3_bucket.S3Options()).meta.events.register("before-send.s3", on_bytes)
