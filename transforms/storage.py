"""The seam to where a set is written: a local folder that appears whole or not at all.

Everything is written into a staging folder beside the target and flushed to disk; one rename puts
it in place.  Workers write files (``scratch_file`` + ``publish``, ``put``) and report finished
units (``report``); the launcher claims the target first and reads the reports for its progress.

    data_cache/.processed_reasoning.partial/   staging, replaced by the next run
    data_cache/.processed_reasoning.work/      temporary files and reports, likewise
    data_cache/.processed_reasoning.lock       held by the run that writes
    data_cache/.processed_reasoning.replaced   the old set, between two renames of an overwrite
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from transforms.errors import AccessDenied, OutputTaken, StorageError
from transforms.layout import DATASET_DICT, MANIFEST

_REPORT = ".report.json"


@dataclass(frozen=True)
class LocalFolder:
    """An output folder on a disk that launcher and workers share; ``path`` is absolute."""

    path: str

    @property
    def staging(self) -> Path:
        """Where the set grows until it is whole."""
        return self._beside("partial")

    @property
    def work(self) -> Path:
        """Where temporary files and reports lie, on the same file system."""
        return self._beside("work")

    def _beside(self, what: str) -> Path:
        target = Path(self.path)
        return target.with_name(f".{target.name}.{what}")

    # ---- the launcher's side

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the finished set at the target; None where there is none."""
        if not (Path(self.path) / DATASET_DICT).is_file():
            return None
        try:
            found = json.loads((Path(self.path) / MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        ours = isinstance(found, dict) and isinstance(found.get("plan_digest"), str)
        return found if ours else None

    def check_free(self, plan_digest: str, overwrite: bool) -> None:
        """``OutputTaken`` where the target holds anything but nothing, with what to do about it."""
        target = Path(self.path)
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        manifest = self.manifest()
        if manifest is None and not (target / DATASET_DICT).is_file():
            raise OutputTaken(
                f"{self.path} exists and holds no prepared data set, so it is left alone even with "
                "--overwrite; give another --output"
            )
        if not overwrite:
            made = f" of plan {manifest['plan_digest'][:12]}" if manifest else ""
            raise OutputTaken(
                f"{self.path} already holds a data set{made}, but this request's plan is "
                f"{plan_digest[:12]}; add --overwrite to replace it, or give another --output"
            )

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds the target for this run, with an empty staging folder; one run at a time."""
        with _explained(self.path):
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._beside("lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise OutputTaken(
                    f"another run is writing {self.path}; wait for it, or give another --output"
                ) from error
        try:
            with _explained(self.path):
                replaced = self._beside("replaced")
                if replaced.exists() and not Path(self.path).exists():
                    replaced.rename(self.path)  # an overwrite was stopped between its two renames
                self._clear()
                self.staging.mkdir()
                self.work.mkdir()
            yield
        finally:
            self._clear()
            lock.release()

    def _clear(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def reports(self) -> list[dict[str, Any]]:
        """What workers reported of finished units so far."""
        found = []
        for path in self.work.glob(f"*{_REPORT}"):
            try:
                found.append(json.loads(path.read_bytes()))
            except FileNotFoundError:
                return []  # the set was put in place meanwhile
        return found

    # ---- the workers' side; every call may be repeated

    def scratch_file(self) -> Path:
        """A new path for a temporary file, on the same file system as the target."""
        return self.work / uuid.uuid4().hex

    def publish(self, temporary: Path, name: str) -> None:
        """Moves a finished temporary file to its name in the set."""
        with _explained(self.path):
            target = self.staging / name
            target.parent.mkdir(exist_ok=True)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)

    def put(self, name: str, data: bytes) -> None:
        """Writes a small file whole."""
        with _explained(self.path):
            temporary = self.scratch_file()
            temporary.write_bytes(data)
            self.publish(temporary, name)

    def put_work(self, name: str, data: bytes) -> None:
        """Writes a file that is needed while the set is made, and is no part of it."""
        with _explained(self.path):
            temporary = self.scratch_file()
            temporary.write_bytes(data)
            temporary.replace(self.work / name)

    def get_work(self, name: str) -> bytes:
        """Reads what ``put_work`` wrote."""
        with _explained(self.path):
            return (self.work / name).read_bytes()

    def report(self, unit: int, facts: Mapping[str, int]) -> None:
        """Tells the launcher that a unit is finished."""
        self.put_work(f"{unit}{_REPORT}", json.dumps(facts).encode())

    def finish(self, plan_digest: str) -> None:
        """Puts the whole set in place; doing it again for the same plan changes nothing."""
        with _explained(self.path):
            if not self.staging.exists():
                manifest = self.manifest()
                if manifest is None or manifest["plan_digest"] != plan_digest:
                    raise StorageError(f"the staging folder {self.staging} is gone; run again")
                return
            target, replaced = Path(self.path), self._beside("replaced")
            if target.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                target.rename(replaced)
            self.staging.rename(target)
            _sync_folder(target.parent)
            shutil.rmtree(replaced, ignore_errors=True)
            shutil.rmtree(self.work, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise AccessDenied(f"no permission to write {error.filename or path}") from error
    except OSError as error:
        raise StorageError(
            f"cannot write {path} ({error.strerror or error}); nothing was published: make room or "
            "repair the disk, then run again"
        ) from error
