"""A slow reference for the leak search: the rule of ``PromptIndex``, one pair at a time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from transforms.leakage.near_prompts import Leak, shorten
from transforms.leakage.prompts import Prompts
from transforms.options import SIMILAR
from transforms.text.ngrams import ngrams, word_array


def slow_leaks(
    known: Prompts, rows: Iterable[tuple[str, int, bool]], shared: int, compared: int
) -> dict[int, Leak]:
    """The nearest leak of each known prompt.

    Args:
        known: The prompts.
        rows: (prompt, key, is validation) of each row.
        shared: How many indexed 3-grams a row must share with a prompt.
        compared: To how many of the prompts that have a 3-gram it leads a row.
    """
    prompts = [known.shingles.row(number).tolist() for number in range(len(known.ids))]
    often = Counter(shingle for prompt in prompts for shingle in prompt)
    enough = [math.ceil(SIMILAR * len(prompt)) for prompt in prompts]
    least = [min(shared, count) for count in enough]
    index = defaultdict(list)
    for number, prompt in enumerate(prompts):
        rarest = sorted(prompt, key=lambda shingle: (often[shingle], shingle))
        for shingle in rarest[: len(prompt) - enough[number] + least[number]]:
            index[shingle].append(number)
    leaks: dict[int, Leak] = {}
    for text, key, is_validation in rows:
        if is_validation:
            continue
        found = ngrams(word_array(pa.array([text], pa.string())), 3).hashes.tolist()
        hits: Counter[int] = Counter()
        for shingle in found:
            owners = index.get(shingle, [])
            start = key % len(owners) if len(owners) > compared else 0
            hits.update((owners * 2)[start : start + min(compared, len(owners))])
        for number, prompt in enumerate(prompts):
            exact = key == int(known.ids[number])
            both, either = set(found) & set(prompt), set(found) | set(prompt)
            near = hits[number] >= least[number] and either and len(both) / len(either) >= SIMILAR
            if exact or near:
                similarity = 1.0 if exact else len(both) / len(either)
                leak = Leak(similarity, exact, key, shorten(text))
                leaks[int(known.ids[number])] = max(
                    leaks.get(int(known.ids[number]), leak),
                    leak,
                    key=lambda leak: (leak.similarity, leak.exact, leak.key),
                )
    return leaks


def as_rows(prompts: pa.StringArray, keys: np.ndarray, marks: np.ndarray) -> list:
    """What ``LeakFinder.add`` takes, row by row."""
    return list(zip(prompts.to_pylist(), keys.tolist(), marks.tolist(), strict=True))
