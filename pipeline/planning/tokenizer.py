"""The tokenizer that a request names, tried once; of its files only ``tokenizer.json`` is read.

It is a file, a tokenizer's folder, ``hub:MODEL``, or a hub name with an owner if no local path has
that name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from pipeline.request import Request
from transforms.chat.token_counter import TOKENIZER_FILE, TokenCounter
from transforms.errors import AccessDenied, BadInput, UsageError
from transforms.options import TokenRule
from transforms.text.addresses import shown_address

MAX_BYTES = 100 * 10**6
_HUB = "hub:"
_MODEL = re.compile(r"[\w-][\w.-]*/[\w.-]+(?<!\.json)")
_TRIED = "A question?\n<|im_start|>Ein Wörtchen, 三十 😀"


@dataclass(frozen=True)
class TokenizerFile:
    """The rule, which is part of a plan, and the JSON, which is stored beside the output."""

    rule: TokenRule
    data: bytes


def tokenizer_file(request: Request) -> TokenizerFile | None:
    """The request's tokenizer; None if it names none.

    Raises:
        UsageError: there is no such tokenizer.
        BadInput: it cannot be used.
    """
    if request.tokenizer is None:
        return None
    name, data = _found(request.tokenizer)
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"--tokenizer {name} has more than {MAX_BYTES:,} bytes; expected a {TOKENIZER_FILE}"
        )
    try:
        TokenCounter(data).count(pa.chunked_array([[_TRIED]], pa.string()))
    except Exception as error:  # the library raises plain Exception
        raise BadInput(
            f"--tokenizer {name} cannot be used ({str(error):.200}); expected a {TOKENIZER_FILE} "
            "of Hugging Face's tokenizers, so fetch it again"
        ) from error
    digest = sha256(data).hexdigest()
    return TokenizerFile(TokenRule(name, digest, request.max_tokens, request.too_long), data)


def _found(name: str) -> tuple[str, bytes]:
    """The tokenizer's name in a plan, which has no paths of a machine, and its JSON."""
    path = Path(name)
    try:
        if not name.startswith(_HUB) and path.is_dir():
            inner = path / TOKENIZER_FILE
            if not inner.is_file():
                raise _lacking(name)
            return path.resolve().name, _read(inner)
        if not name.startswith(_HUB) and path.is_file():
            return path.name, _read(path)
    except PermissionError as error:
        raise AccessDenied(f"no permission to read --tokenizer {name}") from error
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        raise UsageError(
            f"--tokenizer {shown_address(name)!r:.200} cannot be read: {error}"
        ) from error
    if not name.startswith(_HUB) and not _MODEL.fullmatch(name):
        raise UsageError(
            f"--tokenizer {shown_address(name)} is not a file or folder; expected a "
            f"{TOKENIZER_FILE}, a tokenizer's folder, or a hub model as hub:MODEL"
        )
    from pipeline.planning.hub import model_files

    model = name.removeprefix(_HUB)
    data = model_files(model, "--tokenizer")(TOKENIZER_FILE)
    if data is None:
        raise _lacking(name)
    return _HUB + model, data


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _lacking(name: str) -> UsageError:
    return UsageError(
        f"--tokenizer {name} has no {TOKENIZER_FILE}; tokenizers of another form (such as "
        "tokenizer.model) are not read, so name a model that has one"
    )
