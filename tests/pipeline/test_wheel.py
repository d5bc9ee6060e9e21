"""The wheel that workers get: it installs, and is the code that runs here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from means import REPOSITORY

from pipeline.launch import worker_agent
from pipeline.launch.wheel import make_wheel

# In an interpreter that does not find the checkout.
LOOK = """
import importlib.metadata, json, sys
sys.meta_path = [found for found in sys.meta_path if "editable" not in str(found)]
sys.path.insert(0, sys.argv[1])
import pipeline, transforms
from pipeline.launch import worker_agent
print(json.dumps({
    "files": [pipeline.__file__, transforms.__file__],
    "digest": worker_agent.digest(),
    "version": importlib.metadata.version(worker_agent.DISTRIBUTION),
    "needs": importlib.metadata.requires(worker_agent.DISTRIBUTION),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where pip has put it."""
    target = tmp_path_factory.mktemp("installed")
    install(wheel, target)
    return target


def install(wheel: Path, target: Path) -> None:
    words = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--target", str(target), str(wheel)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,  # the assertion shows what it said
    )
    assert done.returncode == 0, done.stderr


def look(folder: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOOK, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_pip_installs_it_and_it_is_this_very_code(installed: Path) -> None:
    found = look(installed)
    assert found["files"] == [
        str(installed / package / "__init__.py") for package in ("pipeline", "transforms")
    ]
    assert found["digest"] == worker_agent.digest()
    assert found["version"] == version("reasonforge-data-prep")
    assert any(need.startswith("apache-beam") for need in found["needs"])  # type: ignore[attr-defined]


def test_it_has_what_is_no_module_too(installed: Path) -> None:
    for name in ("pipeline/sample/reasoning.jsonl", "pipeline/py.typed", "transforms/py.typed"):
        assert (installed / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_made_twice_it_has_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    assert make_wheel(tmp_path).read_bytes() == wheel.read_bytes()
    assert make_wheel(tmp_path).name == wheel.name


def test_its_record_is_whole(wheel: Path) -> None:
    """pip itself checks no hash of it, other tools do."""
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith("/RECORD"))
        lines = archive.read(record).decode().splitlines()
        assert [line.split(",")[0] for line in lines] == archive.namelist()
        assert archive.testzip() is None
    assert lines[-1] == f"{record},,"


def test_it_is_made_in_a_checkout_too(tmp_path: Path) -> None:
    """There may be the metadata of a build, which Python finds first, and what Python made."""
    script = "from pathlib import Path; from pipeline.launch.wheel import make_wheel; import sys"
    (tmp_path / "wheel").mkdir()
    checkout = tmp_path / "checkout"
    for name in ("pipeline", "transforms"):
        shutil.copytree(REPOSITORY / name, checkout / name)
    (checkout / "pipeline" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "pipeline" / "__pycache__" / "old.pyc").write_bytes(b"")
    metadata = checkout / "reasonforge_data_prep.egg-info"
    metadata.mkdir()
    (metadata / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: reasonforge-data-prep\nVersion: 0.1.0\n"
    )
    subprocess.run(
        [sys.executable, "-c", f"{script}; make_wheel(Path(sys.argv[1]))", tmp_path / "wheel"],
        cwd=checkout,
        timeout=60,
        check=True,
    )
    (wheel,) = (tmp_path / "wheel").iterdir()
    install(wheel, tmp_path / "installed")
    assert look(tmp_path / "installed")["version"] == "0.1.0"
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "__pycache__" in name] == []


def test_the_digest_is_that_of_an_ordinary_installation(tmp_path: Path) -> None:
    """setuptools leaves scripts out that are no part of a package."""
    for name in ("pipeline", "transforms"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    script = tmp_path / "pipeline" / "sample" / "script.py"  # as a checkout may have one
    script.write_text("raise SystemExit\n")
    (tmp_path / "reasonforge_data_prep-1.dist-info").mkdir()
    (tmp_path / "reasonforge_data_prep-1.dist-info" / "METADATA").write_text("Version: 1\n")
    assert look(tmp_path)["digest"] == worker_agent.digest()
    script.unlink()
    assert look(tmp_path)["digest"] == worker_agent.digest()
    template = tmp_path / "transforms" / "chat" / "templates" / "qwen3.jinja"
    text = template.read_text()
    template.write_text(f"{text}\n")
    assert look(tmp_path)["digest"] != worker_agent.digest()
    template.write_text(text)
    (tmp_path / "pipeline" / "planning" / "plan.py").write_text("changed = True\n")
    assert look(tmp_path)["digest"] != worker_agent.digest()
