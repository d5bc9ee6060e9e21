"""One run at a time at an S3 prefix, without a permission to delete: a claim with a lease.

``_RUN.json`` is put where there is none, or over the very one that was read (``If-None-Match``,
``If-Match``), so of many only one wins.  The run that holds it renews it now and then; a claim that
was not renewed for ``LEASE_SECONDS`` on the store's own clock is a dead run's, and another run of
the same plan takes it over.  That both may then write is no danger, for equal plans write equal
bytes under equal names; a run of another plan never gets in.

A reply that is lost looks like a conflict or an error although the claim was written: both are
settled by reading it back.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

from msgspec.structs import replace

from transforms.errors import DataPrepError, OutputTaken, StorageError
from transforms.storage.claim import (
    STOPPED,
    SUBMITTED,
    WRITING,
    Claim,
    read_claim,
    taken_by_a_job,
)
from transforms.storage.s3.bucket import Bucket, Conflict

LEASE_SECONDS = 90.0
RENEW_SECONDS = 20.0

RELEASED, COMPLETE = "released", "complete"


class S3Lease:
    """A claim at ``key``; ``where`` is what a user would call the place.

    A ``fresh`` one is never put over an earlier claim, not even one of the same plan; ``units``
    are told to whoever asks how far the run is.
    """

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        where: str,
        plan_digest: str,
        fresh: bool = False,
        units: int | None = None,
    ) -> None:
        self._bucket, self._key, self._where, self._fresh = bucket, key, where, fresh
        self._claim = Claim(
            run=uuid.uuid4().hex,
            plan_digest=plan_digest,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            units=units,
        )
        self._etag = ""

    def hand_over(self, job: str) -> None:
        """The job finishes the set; nobody renews the lease, and nobody takes the place by it."""
        self._claim = replace(self._claim, job=job)

    @contextmanager
    def held(self, take_over: bool) -> Iterator[None]:
        """Holds the claim; ``OutputTaken`` where another run does.

        ``take_over`` does not wait for the lease of an earlier run of the same plan to end.
        """
        self._take(take_over)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(ended,), daemon=True)
        renewing.start()
        state = RELEASED
        try:
            yield
            state = SUBMITTED if self._claim.job else COMPLETE
        finally:
            ended.set()
            renewing.join()
            self._leave(state)

    def _take(self, take_over: bool) -> None:
        match = ""  # only where there is none
        for _ in range(3):
            if self._write(match, WRITING):
                return
            found = read(self._bucket, self._key, self._where)
            if found is None:
                match = ""
                continue
            claim, etag, age = found
            self._check(claim, age, take_over)
            match = etag
        raise OutputTaken(f"{self._where} is being claimed by other runs; give another output")

    def _check(self, claim: Claim, age: float, take_over: bool) -> None:
        mine, theirs = self._claim.plan_digest, claim.plan_digest
        if self._fresh:
            raise OutputTaken(f"{self._where} was made by another run; try again")
        if theirs != mine:
            raise OutputTaken(
                f"{self._where} was claimed by a run of plan {theirs[:12]} at "
                f"{claim.started}, but this request's plan is {mine[:12]}; give another "
                "output"
            )
        if claim.state == SUBMITTED and not take_over:
            raise taken_by_a_job(self._where, claim)
        if claim.state == WRITING and age < LEASE_SECONDS and not take_over:
            raise OutputTaken(
                f"another run of this very plan writes {self._where} (started {claim.started},"
                f" last active {max(0, age):.0f} s ago); wait for it, or, if it is dead, go "
                f"on with --resume {self._where}"
            )

    def _write(self, match: str, state: str) -> bool:
        """Writes the claim under a condition; False where it did not hold."""
        try:
            data = replace(self._claim, state=state).to_bytes()
            self._etag = self._bucket.put(self._key, data, match)
        except (Conflict, StorageError) as error:
            found = read(self._bucket, self._key, self._where)
            if found is None or found[0].run != self._claim.run:
                if isinstance(error, StorageError):
                    raise
                return False
            self._etag = found[1]
        return True

    def _renew(self, ended: threading.Event) -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                if not self._write(self._etag, WRITING):
                    return  # taken over, by a run of the same plan
            except DataPrepError:
                continue  # an outage that lasts ends the work itself

    def _leave(self, state: str) -> None:
        """Says how the run ended, if it can: only how long the next run waits depends on it."""
        try:
            self._write(self._etag, state)
        except DataPrepError:
            return


def read(bucket: Bucket, key: str, where: str) -> tuple[Claim, str, float] | None:
    """(claim, ETag, seconds since it was written); None where there is none.

    Raises ``OutputTaken`` where the key holds something else.
    """
    found = bucket.get(key)
    if found is None:
        return None
    data, stored = found
    claim = read_claim(data)
    if claim is None:
        raise OutputTaken(
            f"{where} holds a {key.rpartition('/')[2]} that is not this tool's; give another output"
        )
    return claim, stored.etag, (stored.now - stored.modified).total_seconds()


def state_of(claim: Claim, age: float) -> str:
    """Whether somebody works on it, by a claim that was written so many seconds ago."""
    state = claim.state
    if state == SUBMITTED:
        return SUBMITTED
    return WRITING if state == WRITING and age < LEASE_SECONDS else STOPPED
