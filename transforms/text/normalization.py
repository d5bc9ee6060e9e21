"""The normal form of keys: Unicode NFC, trimmed, white space folded."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.text.unicode_ranges import TAIL, beyond_ascii, bounds, padded, within

# Characters that NFC never changes, whatever their neighbours (NFC_Quick_Check is Yes in Unicode,
# and they are not combining marks), and that are not white space: the most frequent ones beyond
# ASCII.  Rows with other characters are normalised one by one, so the list need not be complete.
STABLE = bounds(
    *((0x00A1, 0x02FF), (0x0388, 0x0482), (0x048A, 0x052F)),  # Latin, Greek, Cyrillic
    *((0x05D0, 0x05EA), (0x0621, 0x064A)),  # Hebrew, Arabic
    *((0x200B, 0x2027), (0x2030, 0x205E), (0x20A0, 0x20C0)),  # punctuation, currencies
    *((0x2190, 0x2328), (0x232B, 0x2ADB)),  # arrows, mathematics, boxes, symbols
    *((0x3001, 0x3029), (0x3041, 0x3096), (0x309B, 0x30FF)),  # kana and its punctuation
    *((0x4E00, 0x9FFF), (0xAC00, 0xD7A3)),  # Chinese characters, Korean syllables
    *((0xFE0F, 0xFE0F), (0xFF01, 0xFF60)),  # emoji style, full width
    *((0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF)),  # mathematical letters, emoji
)


_SPACE = 32


# Which bytes are ASCII's other white space, as str.split takes it: all of them below _SPACE.
_SPACES = np.isin(np.arange(_SPACE), (*range(9, 14), *range(28, 32)))


def normalise_keys(values: pa.StringArray) -> pa.StringArray:
    """Normalises each value (none null): NFC, trimmed, runs of white space folded to one space.

    This is ``" ".join(unicodedata.normalize("NFC", value).split())``, but faster.
    """
    folded, uneven, unstable = _fold(values)
    # The path of a row depends on the row alone, never on its neighbours.
    uneven = pc.and_not(uneven, unstable)
    if pc.any(uneven).as_py():
        trimmed = pc.ascii_trim_whitespace(folded.filter(uneven))
        words = pc.binary_join(pc.ascii_split_whitespace(trimmed), " ")
        folded = pc.replace_with_mask(folded, uneven, words)
    if not pc.any(unstable).as_py():
        return folded
    # Not pc.utf8_normalize: up to pyarrow 25 its NFC does not compose (apache/arrow#51225), so
    # rows would change their split with the release that fixes it.  It is also slower.
    texts = (unicodedata.normalize("NFC", text) for text in values.filter(unstable).to_pylist())
    composed = pa.array([" ".join(text.split()) for text in texts], pa.string())
    return pc.replace_with_mask(folded, unstable, composed)


def _fold(
    values: pa.StringArray,
) -> tuple[pa.StringArray, pa.BooleanArray, pa.BooleanArray]:
    """Replaces each ASCII white space by a space.

    Returns:
        The values, which of them have spaces at an end or next to each other, and which have
        characters that are not ``STABLE``.
    """
    text, edges = padded(values)
    # Releases the interpreter's lock, unlike bytes.translate; few bytes are below a space.
    low = np.flatnonzero(text < _SPACE)
    text[low[_SPACES[text[low]]]] = _SPACE
    folded = pa.StringArray.from_buffers(len(values), pa.py_buffer(edges), pa.py_buffer(text))
    uneven, unstable = np.zeros((2, len(values)), bool)
    space = text[:-TAIL] == _SPACE
    if space.any():
        # A pair that crosses from one row to the next marks a row that ends with a space anyway.
        pairs = np.flatnonzero(space[1:] & space[:-1])
        uneven[np.searchsorted(edges, pairs, "right") - 1] = True
        filled = np.flatnonzero(edges[1:] > edges[:-1])
        uneven[filled] |= space[edges[filled]] | space[edges[filled + 1] - 1]
    at, codes = beyond_ascii(text)
    if len(at):
        unstable[np.searchsorted(edges, at[~within(codes, STABLE)], "right") - 1] = True
    return folded, pa.array(uneven), pa.array(unstable)
