"""Counting tokens, as a model's own tokenizer does it, for batches of texts.

A text holds its special tokens already, so none are added; a tokenizer's own truncation and padding
are left out.  Batches are counted by the thread that has them: workers have threads of their own,
and threads that the tokenizer started would be missing in a process that is forked later.
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
"""Work file: the tokenizer's JSON, which is too large for the pipeline's graph."""

_STEP_BYTES = 2**19  # of text at a time: its tokens take some hundred times as much
_loading = Lock()
_loaded: dict[str, TokenCounter] = {}


class TokenCounter:
    """Counts the tokens of texts; may be used by many threads.  ``data`` is a tokenizer's JSON.

    Raises ``ValueError`` where that cannot be used.
    """

    def __init__(self, data: bytes) -> None:
        self._tokenizer = _tokenizer(data)

    def count(self, texts: pa.ChunkedArray) -> np.ndarray:
        """The tokens of each text (none null), int64."""
        counts = [
            len(found)
            for step in _steps(texts)
            for found in self._tokenizer.encode_batch_fast(step, add_special_tokens=False)
        ]
        return np.array(counts, np.int64)

    def ends(self, text: str) -> np.ndarray:
        """Where each token of a text ends, in characters, ascending.

        A character of several tokens ends with its last one: it cannot be cut.
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
    except Exception as error:  # the library raises nothing more exact
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
    """The counter whose JSON lies beside a job's output, loaded once a process.

    Raises ``StorageError`` where the file is gone or is another one.
    """
    with _loading:
        if rule.sha256 not in _loaded:
            data = checked_work(store, TOKENIZER_FILE, rule.sha256)
            _loaded.clear()  # those of an earlier job take a hundred megabytes
            _loaded[rule.sha256] = TokenCounter(data)
        return _loaded[rule.sha256]
