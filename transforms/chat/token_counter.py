"""Counts the tokens of texts with a model's own tokenizer.

A text has its special tokens already, so none are added; the tokenizer's truncation and padding are
switched off.  The calling thread counts its batch: workers have threads of their own, and threads
that the tokenizer started would be missing in a process that is forked later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.options import TokenRule
from transforms.storage.store import DatasetStore, checked_work

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
"""Work file with the tokenizer's JSON, which is too large for the pipeline's graph."""

_STEP_BYTES = 2**19  # of text at a time; its tokens take about a hundred times as much
_loading = Lock()
_loaded: dict[str, TokenCounter] = {}


class TokenCounter:
    """Counts the tokens of texts; safe to use in many threads.

    Args:
        data: a tokenizer's JSON.

    Raises:
        ValueError: the tokenizer cannot be used.
    """

    def __init__(self, data: bytes) -> None:
        self._tokenizer = _tokenizer(data)

    def count(self, texts: pa.ChunkedArray) -> np.ndarray:
        """The number of tokens of each text (none null); int64."""
        counts = [
            len(found)
            for step in _steps(texts)
            for found in self._tokenizer.encode_batch_fast(step, add_special_tokens=False)
        ]
        return np.array(counts, np.int64)

    def ends(self, text: str) -> np.ndarray:
        """The place where each token of a text ends, in characters; int64, ascending.

        A character of several tokens ends with the last of them, since it cannot be cut.
        """
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        ends = np.array([end for _, end in offsets], np.int64)
        starts = np.array([start for start, _ in offsets], np.int64)
        inside = np.zeros(len(ends), bool)
        inside[:-1] = starts[1:] < ends[:-1]
        return np.maximum.accumulate(np.where(inside, np.minimum(starts, ends), ends))


def _tokenizer(data: bytes) -> Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library raises plain Exception
        raise ValueError(str(error)) from error
    made.no_truncation()
    made.no_padding()
    return made


def _steps(texts: pa.ChunkedArray) -> Iterator[list[str]]:
    for chunk in texts.chunks:
        sizes = pc.binary_length(chunk).to_numpy(zero_copy_only=False)
        steps = np.cumsum(sizes, dtype=np.int64) // _STEP_BYTES
        edges = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(chunk)]
        for start, stop in zip(edges, edges[1:], strict=False):
            if stop > start:
                yield chunk.slice(start, stop - start).to_pylist()


def stored_counter(store: DatasetStore, rule: TokenRule) -> TokenCounter:
    """The counter whose JSON is stored beside a job's output, loaded once per process.

    Raises:
        StorageError: the file is missing, or has changed.
    """
    with _loading:
        if rule.sha256 not in _loaded:
            data = checked_work(store, TOKENIZER_FILE, rule.sha256)
            _loaded.clear()  # that of an earlier job takes a hundred megabytes
            _loaded[rule.sha256] = TokenCounter(data)
        return _loaded[rule.sha256]
