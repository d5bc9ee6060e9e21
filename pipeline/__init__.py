"""Prepare instruction data sets for fine-tuning: fields, chat text, split, Arrow.

    from pipeline import Request, prepare           # the whole job, on Beam
    from pipeline import DatasetProcessor           # the same rules, a step at a time
    from pipeline import S3Handler                  # folders and files to and from S3

The way of a command, each folder using only those below it:

    cli        arguments become a request; console, configuration files, signals
    processor, s3_handler    the step-by-step Python API
    launch     the graph (start at ``launch/graph.py``), runners, clusters, waiting
    dataset    what is done with a finished set: verify, diff, upload, download, list, report
    planning   everything that decides the bytes, without Beam
    request    what the user wants: the one declaration of every option

The rules that the graph applies, and its steps, are in ``transforms``.  Names are imported when
they are first used, so that ``--help`` does not wait for Beam.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pipeline.launch.job import prepare
    from pipeline.processor import DatasetProcessor
    from pipeline.request import Request
    from pipeline.s3_handler import S3Handler

__all__ = ["DatasetProcessor", "Request", "S3Handler", "__version__", "prepare"]

_HOME = {
    "DatasetProcessor": "pipeline.processor",
    "Request": "pipeline.request",
    "S3Handler": "pipeline.s3_handler",
    "prepare": "pipeline.launch.job",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
