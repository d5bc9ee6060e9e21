"""This project as a wheel, made of the very modules that run here, for workers that lack it.

A build of the checkout could differ from what runs, and an installed project has none to build.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipInfo

from wheel.wheelfile import WheelFile

from pipeline.launch.worker_agent import DISTRIBUTION, PACKAGES, root_of

_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first date that a zip archive can hold
_WHEEL = """Wheel-Version: 1.0
Generator: reasonforge-data-prep
Root-Is-Purelib: true
Tag: py3-none-any
"""


class _Wheel(WheelFile):
    """A wheel without dates: the same modules give the same bytes."""

    def writestr(
        self, path: str, data: bytes | str, compress_type: int | None = ZIP_DEFLATED
    ) -> None:
        super().writestr(ZipInfo(path, _OLDEST), data, compress_type)


def make_wheel(folder: Path) -> Path:
    """Writes the wheel into a folder; returns its path."""
    project = distribution(DISTRIBUTION)
    # In a checkout Python may find the metadata that setuptools left there as PKG-INFO.
    metadata = project.read_text("METADATA") or project.read_text("PKG-INFO") or ""
    path = folder / f"{DISTRIBUTION.replace('-', '_')}-{project.version}-py3-none-any.whl"
    with _Wheel(path, "w") as wheel:
        for package in PACKAGES:
            for name, data in _files(package):
                wheel.writestr(name, data)
        wheel.writestr(f"{wheel.dist_info_path}/METADATA", metadata)
        wheel.writestr(f"{wheel.dist_info_path}/WHEEL", _WHEEL)
    return path  # closing it has added the RECORD


def _files(package: str) -> Iterator[tuple[str, bytes]]:
    """(path in the wheel, content) of a package's files."""
    root = root_of(package)
    if root is None:
        raise ModuleNotFoundError(package)
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()
