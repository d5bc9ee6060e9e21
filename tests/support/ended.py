"""How a program ended, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a program ended, what it printed and what it left at its output."""

    code: int
    out: str = ""
    err: str = ""
    output: Path = Path()
    writes: Sequence[str] = ()
    """``METHOD path`` of each write that it sent to S3, where these were noted."""

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.out + self.err

    @property
    def error(self) -> str:
        """The one sentence of a command that failed."""
        first, *more = (line for line in self.said.splitlines() if line.startswith("error: "))
        assert not more
        assert "Traceback" not in self.said
        return first.removeprefix("error: ")

    @property
    def told(self) -> Any:
        """What a command with ``--json`` printed."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def manifest(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads((self.output / "manifest.json").read_bytes())
        return found

    @property
    def counts(self) -> dict[str, Any]:
        """The counts, which must add up."""
        counts: dict[str, Any] = self.manifest["counts"]
        rejected = counts["rejected"]
        kept = counts["train"] + counts["validation"]
        assert counts["read"] == kept + rejected["total"] + counts["duplicates"]
        assert rejected["total"] == sum(rejected["by_reason"].values())
        return counts

    @property
    def rejects(self) -> list[tuple[str, int, str]]:
        """(file, row, code) of every reject, as the files in ``rejects/`` say."""
        lines = [
            json.loads(line)
            for path in sorted((self.output / "rejects").glob("*"))
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        return [(line["file"], line["row"], line["code"]) for line in lines]

    def rows(self) -> list[dict[str, Any]]:
        """Every row of both splits, as a trainer loads them."""
        assert self.code == 0, self.err
        from datasets import load_from_disk  # reads the environment when it is imported

        data = load_from_disk(str(self.output))
        return [*data["train"], *data["validation"]]

    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows()]
