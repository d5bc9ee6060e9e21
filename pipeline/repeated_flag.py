"""Flags that may be given several times."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


class Repeated(argparse.Action):
    """Collects the values of a flag; they stand in for the default, such as a file's list.

    argparse's own ``append`` would add them to it.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*(before if before is not self.default else ()), value])
