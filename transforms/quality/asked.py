"""What a prepared row asks: the user's first turn, from whatever columns a set has."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.records import one_array


def asked(
    rows: pa.Table, user_marker: str = "", control_tokens: Sequence[str] = ()
) -> pa.StringArray:
    """The instruction of each row; "" where there is none.

    Of a set with ``prompt`` and ``completion`` alone it is what stands in the prompt between the
    template's user marker and its next token; the whole prompt where that cannot be told.
    """
    if "instruction" in rows.column_names:
        return one_array(rows["instruction"])
    if "messages" in rows.column_names:
        return _first_user(one_array(rows["messages"]))
    prompts = one_array(rows["prompt"])
    if not user_marker:
        return prompts
    ends = "|".join([*(re.escape(token) for token in control_tokens), "$"])
    between = f"(?s){re.escape(user_marker)}(?P<asked>.*?)(?:{ends})"
    return pc.coalesce(pc.struct_field(pc.extract_regex(prompts, between), "asked"), prompts)


def _first_user(messages: pa.ListArray) -> pa.StringArray:
    turns = messages.flatten()
    counts = pc.list_value_length(messages).to_numpy()
    rows = np.repeat(np.arange(len(counts)), counts)
    of_user = np.flatnonzero(pc.equal(turns.field("role"), "user").to_numpy(zero_copy_only=False))
    first = np.full(len(counts), -1)
    first[rows[of_user[::-1]]] = of_user[::-1]  # of equal rows the last assignment stays
    return pc.fill_null(turns.field("content").take(pa.array(first, mask=first < 0)), "")
