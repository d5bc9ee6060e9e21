"""Names of a set's files, and of those that a run writes beside them: nothing else is ours."""

from __future__ import annotations

import json
import re

from transforms.split import SPLITS

DATASET_DICT = "dataset_dict.json"


MANIFEST = "manifest.json"


CARD = "README.md"


REPORT = "report.html"


REJECTS_FOLDER = "rejects"


WORK = "_run"
"""Folder of work files on S3: plan, units and records of a run."""


STATE, DATASET_INFO = "state.json", "dataset_info.json"
"""The two JSON files of a split's folder."""


SET_FOLDERS = (*SPLITS, REJECTS_FOLDER)
"""The folders of a set; none of them has folders in it."""


DATASET_DICT_CONTENT = json.dumps({"splits": list(SPLITS)}).encode()
"""``dataset_dict.json``, byte for byte: no set of any version has another one."""


FORMAT_VERSION = 1


RECORD_BATCH_ROWS = 1000
"""Rows in a record batch of a shard, as ``datasets`` writes them: the grain of random access."""


_SPLIT = "|".join(SPLITS)
_NUMBERS = r"data-\d{5,}-of-\d{5,}"
_LISTED = re.compile(
    rf"{re.escape(CARD)}|{re.escape(REPORT)}"
    rf"|({_SPLIT})/({_NUMBERS}\.arrow|{re.escape(STATE)}|{re.escape(DATASET_INFO)})"
    rf"|{REJECTS_FOLDER}/{_NUMBERS}\.jsonl"
)
_WORK = re.compile(
    r"plan\.json|tokenizer\.json|launcher\.txt|replaces\.txt|validation-prompts\.(ipc|arrow)"
    r"|(units|worker)-\d{2,}\.json|\d{5,}(-[0-9a-f]*)*-[a-z]+\.json|benchmark-[0-9a-f]{64}"
)


def shard_path(split: str, number: int, shard_count: int) -> str:
    """Where shard ``number`` of ``shard_count`` lies: ``train/data-00003-of-00012.arrow``."""
    ending = "jsonl" if split == REJECTS_FOLDER else "arrow"
    return f"{split}/data-{number:05d}-of-{shard_count:05d}.{ending}"


def may_be_listed(name: str) -> bool:
    """May a manifest name this file?  No set has any other, but for the two files of its own."""
    return _LISTED.fullmatch(name) is not None


def is_set_file(name: str) -> bool:
    """Is this the name of a file of a set?"""
    return name in (MANIFEST, DATASET_DICT) or may_be_listed(name)


def is_work_file(name: str) -> bool:
    """Is this the name of a work file: what a run writes beside a set, for itself?"""
    return _WORK.fullmatch(name) is not None
