"""What a Flink cluster reports of itself and of a job, by its REST interface.

https://nightlies.apache.org/flink/flink-docs-release-1.19/docs/ops/rest_api/
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import requests

from transforms.errors import RunnerFailed
from transforms.text.addresses import shown_address

_SECONDS = 10.0  # a page that takes longer is not there
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster whose REST interface is at ``master``: ``host:port``, or with http:// before."""

    master: str

    @property
    def address(self) -> str:
        """The address of its web pages."""
        return self.master if "://" in self.master else f"http://{self.master}"

    def version(self) -> str:
        """As ``1.19``."""
        return ".".join(self._get("/overview", "flink-version", str).split(".")[:2])

    def slots(self) -> int:
        """How many tasks it can run at once."""
        return self._get("/overview", "slots-total", int)

    def job(self, name: str) -> tuple[str, str] | None:
        """(id, state) of the newest job of that name; None where there is none."""
        jobs = [job for job in self._get("/jobs/overview", "jobs", list) if job["name"] == name]
        newest = max(jobs, key=lambda job: int(job["start-time"]), default=None)
        return (newest["jid"], newest["state"]) if newest else None

    def cancel(self, job: str) -> None:
        """Ends a job, which may take a moment; one that has ended is left as it is."""
        with suppress(requests.RequestException):  # a cluster that is gone has no job either
            url = f"{self.address}/jobs/{job}"
            requests.patch(url, params={"mode": "cancel"}, timeout=_SECONDS)

    def page(self, job: str) -> str:
        """The address of a job's page."""
        return f"{self.address}/#/job/running/{job}/overview"

    def _get(self, path: str, key: str, kind: type[_Value]) -> _Value:
        try:
            reply = requests.get(self.address + path, timeout=_SECONDS)
            reply.raise_for_status()
            value = reply.json()[key]
            if not isinstance(value, kind):
                raise TypeError(value)
        # Another program may answer with any JSON.
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            where = shown_address(self.address, is_address=True)
            raise RunnerFailed(
                f"no Flink answers at {where} ({type(error).__name__}); --flink_master is "
                "the address of the cluster's web page, HOST:8081"
            ) from error
        return value
