"""Prepare instruction data sets for fine-tuning: fields, chat text, split, Arrow.

    from pipeline import DatasetProcessor           # the guide's steps, on datasets objects
    from pipeline import Request, prepare           # the whole job, on Beam
    from pipeline import S3Handler                  # the guide's helper for trainers

A command's way; what the data does meanwhile is told in ``transforms``:

    cli         words become a request (``flags``, ``request``, ``config_file``)
    story       what the console tells
    plan        everything that decides the bytes (``source``, ``hub``, ``template``)
    job         the pipeline, on the output's place
    runners     which runner, and how; job_server: the way to a cluster
    probe       do the cluster's workers fit (``on_worker`` is what they run)
    execution   to the end, or handed over
    verbs       what is done with a set: status, upload, download, verify, diff, list, prune

Names are imported when they are first used, so that ``--help`` does not wait for Beam.
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
