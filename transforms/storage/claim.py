"""``_RUN.json``: who writes a set, as a typed value.  On S3 it stays: nothing is deleted there."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from transforms.errors import OutputTaken

CLAIM = "_RUN.json"

WRITING, STOPPED, SUBMITTED = "writing", "stopped", "submitted"
"""States of a place without a finished set: a launcher works on it; one did; a job does alone."""


class Claim(Struct, frozen=True, kw_only=True):
    """Who writes a set.

    Attributes:
        run: names the run; "" in a local folder, which has a lock.
        plan_digest: the plan that is written.
        started: ISO 8601 time.
        state: one of the states above, or how the run ended.
        units: the work units of the plan.
        job: name and page of a submitted job.
    """

    run: str = ""
    plan_digest: str = ""
    started: str | None = None
    state: str = STOPPED
    units: int | None = None
    job: str | None = None

    def to_bytes(self) -> bytes:
        """The JSON of the file."""
        return msgspec.json.encode(self)


def read_claim(data: bytes) -> Claim | None:
    """The claim in ``data``; None where it is something else."""
    try:
        return msgspec.json.decode(data, type=Claim)
    except (msgspec.DecodeError, RecursionError):
        return None


def taken_by_a_job(path: str, claim: Claim) -> OutputTaken:
    """The error for a place whose claim is a submitted job's."""
    return OutputTaken(
        f"a submitted job writes {path} (started {claim.started}): {claim.job}; `status` shows its "
        f"progress. If it is dead, continue in its place with --resume {path}"
    )
