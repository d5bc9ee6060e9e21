"""No module, class or function bears a word of the old private vocabulary: part of `make check`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

GONE = {
    *("asked", "looks", "told", "heard", "said", "story", "verbs", "recall", "words"),
    *("figures", "settle", "whereabouts", "together"),
}
"""None may be a part of a name."""

GONE_WHOLE = {"near", "by_unit", "of_bytes", "asked_again"}
"""None may be a whole name: near duplicates are a standard term."""

PACKAGES = ("pipeline", "transforms", "benchmarks")


def is_gone(name: str) -> bool:
    parts = [part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)]
    return bool(GONE & set(parts)) or "_".join(parts) in GONE_WHOLE


def names(path: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of a module, its classes and functions."""
    yield 1, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name


def main() -> int:
    found = [
        f"{path}:{line}: {name} bears a word that is gone; see GONE in {__file__}"
        for package in PACKAGES
        for path in sorted(Path(package).rglob("*.py"))
        for line, name in names(path)
        if is_gone(name)
    ]
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
