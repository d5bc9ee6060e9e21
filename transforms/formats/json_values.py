"""JSON objects one after the other, over several lines or without a line end between them.

``jq`` writes such files unless it is told otherwise.  One unit reads a whole file, like an array.
"""

from __future__ import annotations

from transforms.formats.json_array import read, read_sample

__all__ = ["read", "read_sample"]
