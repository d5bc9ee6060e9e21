"""The chat template that a request names; one that is not built in is tried first.

It is the name of a built-in template, a Jinja file, a tokenizer's folder, or ``hub:MODEL`` (of
which only the tokenizer's JSON is read, at a pinned commit).  A foreign template renders harmless
turns first, so that one which fails, loops or takes all memory ends the plan, not the job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.request import Request
from transforms.chat import control_tokens
from transforms.chat.builtin_templates import NAMES, built_in
from transforms.chat.render_rows import sandbox_of
from transforms.chat.sandbox import Refusal
from transforms.chat.template import DEFAULT_SYSTEM_PROMPT, ChatFormat, ChatTemplate
from transforms.conversations.field_mapping import FieldMapping
from transforms.errors import AccessDenied, BadInput, UsageError
from transforms.text.addresses import shown_address

_HUB = "hub:"
_JINJA, _CONFIG, _TOKENIZER = "chat_template.jinja", "tokenizer_config.json", "tokenizer.json"
_MAX_JINJA_BYTES = 16 * 2**20

Read = Callable[[str], bytes | None]
"""A file of a tokenizer by name; None where it has no such file."""


def chat_format(request: Request, mapping: FieldMapping) -> ChatFormat:
    """The request's template and the options of its use.

    Raises:
        UsageError: there is no such template, or it cannot be used.
    """
    template = _template(request)
    prompt = request.system_prompt
    if prompt is None and not mapping.is_conversation:
        prompt = DEFAULT_SYSTEM_PROMPT
    chat = ChatFormat(
        template,
        prompt or None,
        request.think,
        request.control_tokens,
        request.bos == "keep",
        request.tools,
        request.template_date,
    )
    chat = _tried(chat) if template.foreign else chat
    tokens = chat.template.control_tokens
    if prompt is not None and control_tokens.count(prompt, tokens):
        raise UsageError(
            "--system-prompt must not contain control tokens such as "
            f"{control_tokens.excerpt(prompt, tokens).split(' in ')[0]}"
        )
    return chat


def _template(request: Request) -> ChatTemplate:
    name = request.template
    if name in NAMES:
        return built_in(name, request.template_date)
    if name.startswith(_HUB):
        return _of_tokenizer(name, _from_hub(name.removeprefix(_HUB)))
    path = Path(name)
    try:
        if path.is_dir():
            return replace(_of_tokenizer(name, lambda file: _bytes(path / file)), name=_last(path))
        if path.is_file():
            if not path.name.isprintable() or "`" in path.name:  # the set's card shows it
                raise UsageError(f"--template {name!r}: give the file a plainer name")
            if path.stat().st_size > _MAX_JINJA_BYTES:
                raise UsageError(
                    f"--template {name} has more than {_MAX_JINJA_BYTES:,} bytes; expected a Jinja "
                    "template"
                )
            return ChatTemplate(path.name, _text(path.read_bytes(), name), foreign=True)
    except PermissionError as error:
        raise AccessDenied(f"no permission to read --template {name}") from error
    except OSError as error:
        raise UsageError(
            f"--template {shown_address(name):.200} cannot be read: {error.strerror}"
        ) from error
    raise UsageError(
        f"--template {shown_address(name)} is none of {', '.join(NAMES)}, and not a "
        "file or folder; expected one of them, a Jinja file, a tokenizer's folder, or hub:MODEL"
    )


def _last(path: Path) -> str:
    """A folder's own name, since a plan has no paths of a machine."""
    return path.resolve().name


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--template {name} is not UTF-8 text; expected a Jinja template"
        ) from error


def _from_hub(name: str) -> Read:
    from pipeline.planning.hub import model_files

    return model_files(name)


def _of_tokenizer(name: str, read: Read) -> ChatTemplate:
    config = _json(read(_CONFIG), name, _CONFIG)
    data = read(_JINJA)
    jinja = config.get("chat_template") if data is None else _text(data, name)
    if isinstance(jinja, list):  # several with names
        entries = [entry for entry in jinja if isinstance(entry, Mapping)]
        jinja = next((e.get("template") for e in entries if e.get("name") == "default"), None)
    if not isinstance(jinja, str) or not jinja.strip():
        raise UsageError(
            f"--template {name} has no chat template ({_JINJA}, or chat_template in {_CONFIG}); "
            "its model was not trained on chats, so choose a template by name"
        )
    tokens = _tokens(config.get("added_tokens_decoder"))
    if not tokens:
        tokens = _tokens(_json(read(_TOKENIZER), name, _TOKENIZER).get("added_tokens"))
    bos, eos = _token(config.get("bos_token")), _token(config.get("eos_token"))
    # All added tokens, not the special ones alone: Qwen's list of these lacks <|im_start|>.
    known = dict.fromkeys(token for token in (*tokens, bos, eos) if token.strip())
    return ChatTemplate(name, jinja, bos=bos, eos=eos, control_tokens=tuple(known), foreign=True)


def _tokens(entries: object) -> list[str]:
    """The tokens of a list, or of an object with tokens by number."""
    if isinstance(entries, Mapping):
        entries = list(entries.values())
    return [_token(entry) for entry in entries] if isinstance(entries, list) else []


def _token(entry: object) -> str:
    """A token of a configuration: text, or an object with the key ``content``."""
    value = entry.get("content") if isinstance(entry, Mapping) else entry
    return value if isinstance(value, str) else ""


def _json(data: bytes | None, name: str, file: str) -> dict[str, object]:
    if data is None:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} of {name} is not JSON ({error}); fetch it again") from error
    return value if isinstance(value, dict) else {}


_USER, _ANSWER, _AGAIN, _LAST, _WHY = "Ququ", "Anan", "Qaqa", "Anon", "Wewe"
_SYSTEM, _BOS, _EOS = "Sysy", "Bobo", "Eoeo"


def _tried(chat: ChatFormat) -> ChatFormat:
    """The format, with markers, the end of a turn and reasoning as its template renders them."""

    def turns(*texts: str) -> list[dict[str, str]]:
        roles = ("user", "assistant")
        return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]

    template = chat.template
    with_reasoning = turns(_USER, _ANSWER)
    with_reasoning[-1] |= {"reasoning_content": _WHY, "thinking": _WHY}
    rows: list[dict[str, object]] = [
        {"messages": turns(_USER, _ANSWER, _AGAIN, _LAST), "add_generation_prompt": False},
        {"messages": turns(_USER, _ANSWER, _AGAIN), "add_generation_prompt": True},
        {"messages": turns(_USER, _ANSWER, _AGAIN), "add_generation_prompt": False},
        {"messages": with_reasoning, "add_generation_prompt": False},
        {"messages": [{"role": "system", "content": _SYSTEM}, *turns(_USER, _ANSWER)]},
    ]
    marked = replace(template, bos=template.bos or _BOS, eos=template.eos or _EOS)
    with sandbox_of(replace(chat, template=marked)) as sandbox:
        given = {"tools": None, "think": chat.think, "add_generation_prompt": False}
        whole, prompted, unprompted, reasoned, with_system = sandbox.render(
            [{**given, **row} for row in rows]
        )
    if isinstance(whole, Refusal):
        raise UsageError(
            f"the template {template.name} refuses a plain conversation of user and assistant: "
            f"{whole.reason}; use another --template"
        )
    lost = [text for text in (_USER, _ANSWER, _AGAIN, _LAST) if text not in whole]
    if lost:
        raise UsageError(
            f"the template {template.name} leaves turns of user or assistant out of its text; "
            "use another --template"
        )
    for token, what in ((_EOS, "eos_token"), (_BOS * chat.keep_bos, "bos_token")):
        if token and token in whole:
            raise UsageError(
                f"the template {template.name} writes {what}, but a Jinja file does not define it; "
                "give the tokenizer's folder or hub:MODEL as --template"
            )
    whole = whole.replace(_BOS, "")
    tail = whole.rpartition(_LAST)[2]
    second = whole.partition(_ANSWER)[2].partition(_AGAIN)[0]
    before = whole.partition(_AGAIN)[2].partition(_LAST)[0]
    end = tail.strip() or template.eos
    marker = ""
    if not isinstance(prompted, Refusal) and not isinstance(unprompted, Refusal):
        marker = prompted.removeprefix(unprompted) if prompted.startswith(unprompted) else ""
    if not marker or marker not in before:
        marker = before.removeprefix(tail)
    # A turn may end in another way when it is not the last one.
    ends = (tail, end, before.partition(marker)[0] if marker else "")
    first = next((e for e in ends if e and second.startswith(e)), "")
    reasons = not isinstance(reasoned, Refusal) and _WHY in reasoned
    user = second.removeprefix(first)
    own = whole.partition(_USER)[0].removesuffix(user)
    # Text before the user's part that is there only without a system turn.
    adds = (
        bool(own.strip())
        and not isinstance(with_system, Refusal)
        and not with_system.startswith(own)
    )
    return replace(
        chat,
        template=replace(
            template,
            eos=end,
            user_marker=user,
            assistant_marker=marker,
            control_tokens=template.control_tokens or _tokens_in(whole, template.jinja),
            adds_system=adds,
            # Else --think places the reasoning, or it is counted as left out.
            thinks="own" if reasons and chat.think in ("auto", "keep") else template.thinks,
        ),
    )


def _tokens_in(text: str, jinja: str) -> tuple[str, ...]:
    """Likely control tokens, for a template without a tokenizer.

    These are strings of a rendered harmless text that look like a token, and strings of the form
    <|…|> in the template itself.
    """
    rendered = re.findall(r"<[^<>\s]{1,60}>|\[/?[A-Z_]{2,40}\]", text)
    written = re.findall(r"<([|｜])([^<>\s'\"{}]{1,60})\1>", jinja)
    return tuple(dict.fromkeys((*rendered, *(f"<{bar}{name}{bar}>" for bar, name in written))))
