"""This project as a wheel, made of the very modules that run here, for workers that lack it.

A wheel is a zip archive with a few files of its own:
https://packaging.python.org/specifications/binary-distribution-format/
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from pipeline.launch.worker_agent import DISTRIBUTION, PACKAGES, root_of

_OLDEST = (1980, 1, 1, 0, 0, 0)  # what a zip archive can tell; the same modules, the same bytes


def make_wheel(folder: Path) -> Path:
    """Writes the wheel into a folder; returns its path."""
    own = distribution(DISTRIBUTION)
    name = f"{DISTRIBUTION.replace('-', '_')}-{own.version}"
    files = {path: data for package in PACKAGES for path, data in _modules(package)}
    about = f"{name}.dist-info"
    # In a checkout Python may find what setuptools left there, whose name for it is the other one.
    metadata = own.read_text("METADATA") or own.read_text("PKG-INFO") or ""
    files[f"{about}/METADATA"] = metadata.encode()
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: reasonforge-data-prep\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n"
    )
    lines = [f"{path},sha256={_digest(data)},{len(data)}" for path, data in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*lines, f"{about}/RECORD,,", ""]).encode()
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, _OLDEST), data, zipfile.ZIP_DEFLATED)
    return wheel


def _modules(package: str) -> list[tuple[str, bytes]]:
    root = root_of(package)
    if root is None:
        raise ModuleNotFoundError(package)
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    return [
        (f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes())
        for path in paths
        if "__pycache__" not in path.parts
    ]


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
