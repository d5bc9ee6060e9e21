"""An environment of its own with TRL, made once and kept in a cache folder.

The registry's torch for Linux is built for CUDA and wants 2 GB of libraries beside itself, though a
CPU never calls them.  So torch comes without its dependencies, with those three CUDA packages that
it cannot start without, and the other libraries' names stand for one of torch's own that holds
nothing of theirs.  torch itself is whole; what uses this environment binds functions at the first
call (``sys.setdlopenflags(os.RTLD_LAZY)``) and uses no GPU.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from environments import environment, pins, pip, run
from means import absent

_PINS = pins("trl")
LINUX = platform.system() == "Linux"
STARTS = "import os, sys; sys.setdlopenflags(os.RTLD_LAZY); import torch"


def trl_python() -> Path:
    """The environment's interpreter; ends the test as absent where it cannot be made."""
    if sys.version_info < (3, 11):
        absent("TRL needs Python 3.11")

    def fill(python: Path) -> None:
        pip(python, "--no-deps", *_PINS["alone"], *(_PINS["cuda"] if LINUX else ()))
        pip(python, *_PINS["beside"])
        if LINUX:
            stand_in_for_unused(python)
        run(str(python), "-c", STARTS)

    return environment("trl", fill)


def stand_in_for_unused(python: Path) -> None:
    """Gives each unused library's name to a library without functions, where torch looks first."""
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(run(str(python), "-c", ask))
    empty = packages / "torch" / "lib" / "libtorch_global_deps.so"
    folder = packages / "nvidia" / "cu13" / "lib"
    for name in _PINS["unused"]:
        # Relative: the environment is moved to its place when it is whole.
        (folder / name).symlink_to(os.path.relpath(empty, folder))
