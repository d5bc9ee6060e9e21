"""An environment of its own with TRL, made once and kept in a cache folder.

The registry's torch for Linux is built for CUDA and wants 2 GB of libraries beside itself, though a
CPU never calls them.  So torch comes without its dependencies, with those three CUDA packages that
it cannot start without, and the other libraries' names stand for one of torch's own that holds
nothing of theirs.  torch itself is whole; what uses this environment binds functions at the first
call (``sys.setdlopenflags(os.RTLD_LAZY)``) and uses no GPU.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from environments import environment, pip, run
from means import absent

TRL = "1.16.0"
# These name torch among their dependencies, or are torch: installed with no dependencies.
ALONE = (f"trl=={TRL}", "accelerate==1.15.0", "torch==2.15.0")
# What those need, and transformers.
BESIDE = (
    "datasets==5.2.0",
    "filelock==4.2.12",
    "fsspec==2026.9.0",
    "huggingface-hub==2.4.0",
    "jinja2==3.1.6",
    "networkx==3.6.1",
    "numpy==2.4.6",
    "packaging==26.3",
    "pandas==3.1.1",
    "psutil==7.2.2",
    "pyarrow==26.0.1",
    "pyyaml==6.0.4",
    "safetensors==0.8.0",
    "setuptools==84.2.1",
    "sympy==1.14.0",
    "tokenizers==0.23.3",
    "transformers==5.24.0",
    "typing-extensions==4.16.0",
)
CUDA = ("nvidia-cuda-runtime==13.2.86", "nvidia-cuda-cupti==13.2.86", "nvidia-nvshmem-cu13==3.7.2")
# Libraries that torch names and a CPU never calls.
UNUSED = (
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcudnn.so.9",
    "libcufft.so.12",
    "libcufile.so.0",
    "libcusparse.so.12",
    "libcusparseLt.so.0",
    "libnccl.so.2",
    "libnvrtc.so.13",
)
LINUX = platform.system() == "Linux"
STARTS = "import os, sys; sys.setdlopenflags(os.RTLD_LAZY); import torch"


def trl_python() -> Path:
    """The environment's interpreter; ends the test as absent where it cannot be made."""
    if sys.version_info < (3, 11):
        absent(f"TRL {TRL} needs Python 3.11")
    alone = (*ALONE, *CUDA) if LINUX else ALONE

    def fill(python: Path) -> None:
        pip(python, "--no-deps", *alone)
        pip(python, *BESIDE)
        if LINUX:
            stand_in_for_unused(python)
        run(str(python), "-c", STARTS)

    return environment(f"trl-{TRL}", (*alone, *BESIDE, *UNUSED), f"TRL {TRL}", fill)


def stand_in_for_unused(python: Path) -> None:
    """Gives each unused library's name to a library without functions, where torch looks first."""
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(run(str(python), "-c", ask))
    empty = packages / "torch" / "lib" / "libtorch_global_deps.so"
    for name in UNUSED:
        (packages / "nvidia" / "cu13" / "lib" / name).symlink_to(empty)
