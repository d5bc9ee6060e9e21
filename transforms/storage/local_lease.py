"""A local target that a run holds: its lock keeps others out, its claim says who works there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone

from transforms.errors import StorageError
from transforms.storage.claim import CLAIM, SUBMITTED, Claim


class LocalLease:
    """A target that this run holds; ``put_work`` writes a work file of it."""

    def __init__(
        self, put_work: Callable[[str, bytes], None], plan_digest: str, units: int | None
    ) -> None:
        self._put_work, self.plan_digest, self._units = put_work, plan_digest, units
        self._started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.handed_over = False

    def note(self, state: str, job: str | None = None) -> None:
        """Writes down who works here."""
        claim = Claim(
            plan_digest=self.plan_digest,
            started=self._started,
            state=state,
            units=self._units,
            job=job,
        )
        self._put_work(CLAIM, claim.to_bytes())

    def hand_over(self, job: str) -> None:
        """The job finishes the set; what it needs stays when this run ends."""
        with suppress(StorageError):  # it may have finished already, and taken the folder along
            self.note(SUBMITTED, job)
        self.handed_over = True
