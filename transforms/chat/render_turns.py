"""The rendering rule: turns become texts, by Arrow where possible, else in the sandbox.

Reject codes of this step:

    tools-not-in-template   the template cannot render tool calls and results
    system-not-first        the template renders a system turn only at the beginning
    roles-must-alternate    the template needs user and assistant to alternate
    control-token           the content contains a control token of the template
    template-refused        the template raised an error for the row
    turn-dropped            a turn is missing in the rendered text
    prompt-not-found        the end of the prompt is unknown (for prompt and completion)

Notes on rows that are kept, counted by row:

    reasoning-not-in-text   the template cannot render the row's reasoning
    tools-not-in-text       the template cannot render the row's tools, as ``--tools`` requests
    template-system-prompt  the template added its own system prompt
    control-token-escaped, control-token-kept
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.chat import control_tokens
from transforms.chat.jinja_renderer import RowRenderer, quoted
from transforms.chat.template import ChatFormat, ChatTemplate
from transforms.chat.text_renderer import Findings, TextRenderer
from transforms.conversations import reasoning
from transforms.conversations.roles import ROLES
from transforms.conversations.turns import ASSISTANT, SYSTEM, TOOL, USER, Turns
from transforms.records import Reject

NO_REASONING = "reasoning-not-in-text"
NO_TOOLS = "tools-not-in-text"
OWN_SYSTEM = "template-system-prompt"
ESCAPED = "control-token-escaped"
KEPT = "control-token-kept"


@dataclass(frozen=True)
class Rendered:
    """The rendered rows of a batch; all attributes but ``bad`` have an entry for every row.

    Attributes:
        texts: the text of each row; undefined for the rows in ``bad``.
        turns: the turns as rendered: with the system prompt and escapes, and with inline
            reasoning separated where the template renders it by itself.
        bad: row -> why it is rejected.
        note_counts: note -> number of rows.
        prompts: the number of bytes of each text that are prompt (int64), if requested.
    """

    texts: pa.StringArray
    turns: Turns
    bad: Mapping[int, Reject]
    note_counts: Mapping[str, int]
    prompts: np.ndarray | None = None


def render_turns(
    turns: Turns,
    tools: pa.StringArray | None,
    chat: ChatFormat,
    sandbox: Callable[[], RowRenderer],
    with_prompts: bool = False,
    known_bad: Mapping[int, Reject] = MappingProxyType({}),
) -> Rendered:
    """Renders rows in a chat format.

    Args:
        turns: the rows.
        tools: each row's list of tools as JSON (nullable), or None.
        chat: the template and how it is used.
        sandbox: makes what renders rows that Arrow cannot; called only if there are any.
        with_prompts: whether to find the end of each prompt.
        known_bad: rows that are rejected already -> why.
    """
    template = chat.template
    if chat.system_prompt is not None:
        turns = add_system(turns, chat.system_prompt)
    tools = tools if chat.tools else None
    offered = np.zeros(len(turns), bool)
    if tools is not None and not template.tools:
        offered, tools = np.asarray(pc.is_valid(tools).to_numpy(zero_copy_only=False)), None
    bad = {**unsupported(turns, template), **known_bad}
    separated, gaps = split_reasoning(turns, template)
    separated, tools, held = check_control_tokens(separated, tools, chat)
    if chat.control_tokens == "reject":
        bad = {**held, **bad}
    placed, lost = place_reasoning(separated, gaps, chat)
    found = Findings(bad, lost, offered)
    texts, prompts = TextRenderer(chat, sandbox, with_prompts).render(placed, tools, found)
    good = np.ones(len(turns), bool)
    good[list(bad)] = False
    note_counts = {
        NO_REASONING: int((lost & good).sum()),
        NO_TOOLS: int((offered & good).sum()),
        OWN_SYSTEM: int(((turns.first(SYSTEM) < 0) & good).sum()) if template.adds_system else 0,
        ESCAPED: len(held.keys() - bad) if chat.control_tokens == "escape" else 0,
        KEPT: len(held.keys() - bad) if chat.control_tokens == "keep" else 0,
    }
    return Rendered(texts, separated, bad, {k: n for k, n in note_counts.items() if n}, prompts)


def add_system(turns: Turns, prompt: str) -> Turns:
    """Adds a system turn to the rows without one."""
    lacking = turns.first(SYSTEM) < 0
    if not lacking.any():
        return turns
    total = len(turns.roles)
    places = np.insert(np.arange(total), turns.offsets[:-1][lacking], total)
    taken = pa.array(places)

    def extended(array: pa.StringArray | None, value: str | None) -> pa.StringArray | None:
        if array is None:
            return None
        return pa.concat_arrays([array, pa.array([value], pa.string())]).take(taken)

    return Turns(
        turns.offsets + np.concatenate(([0], np.cumsum(lacking))),
        np.append(turns.roles, np.int8(SYSTEM))[places],
        extended(turns.content, prompt),
        extended(turns.reasoning, None),
        extended(turns.tool_calls, None),
        extended(turns.name, None),
    )


def unsupported(turns: Turns, template: ChatTemplate) -> dict[int, Reject]:
    """Rows that the template cannot render -> why."""
    bad: dict[int, Reject] = {}
    rows, roles = turns.rows, turns.roles

    def mark(code: str, flags: np.ndarray, why: str) -> None:
        for row in np.unique(rows[flags]).tolist():
            bad.setdefault(row, Reject(code, f"the template {template.name} {why}"))

    if not template.tools:
        uses = roles == TOOL
        if turns.tool_calls is not None:
            uses = uses | pc.is_valid(turns.tool_calls).to_numpy(zero_copy_only=False)
        mark("tools-not-in-template", uses, "has no form for tool calls and results")
    if template.system == "first":
        late = roles == SYSTEM
        late[turns.offsets[:-1]] = False
        mark("system-not-first", late, "has a system turn at the beginning only")
    if template.alternates:
        dialogue = roles != SYSTEM
        place = np.cumsum(dialogue) - dialogue
        place = place - np.repeat(place[turns.offsets[:-1]], np.diff(turns.offsets))
        wrong = dialogue & ((roles == USER) != (place % 2 == 0))
        mark("roles-must-alternate", wrong, "takes user and assistant in turns only")
    return bad


def split_reasoning(turns: Turns, template: ChatTemplate) -> tuple[Turns, pa.StringArray | None]:
    """Separates inline reasoning from the content, where the template does so.

    Returns:
        The turns, and the line breaks between reasoning and answer of each turn, or None if no
        turn has changed.
    """
    if template.thinks not in ("own", "drop"):
        return turns, None
    inline = (turns.roles == ASSISTANT) & _contains(turns.content, reasoning.CLOSE)
    own = turns.reasoning
    own = pa.nulls(len(turns.roles), pa.string()) if own is None else own
    # A turn with reasoning in a key keeps its inline reasoning as content.
    inline &= pc.is_null(own).to_numpy(zero_copy_only=False)
    if not inline.any():
        return turns, None
    indices = pa.array(np.flatnonzero(inline))
    parts = [reasoning.split(text) for text in turns.content.take(indices).to_pylist()]
    gaps = _replaced(pa.array([""] * len(inline), pa.string()), inline, [p.gap for p in parts])
    separated = replace(
        turns,
        content=_replaced(turns.content, inline, [p.answer for p in parts]),
        reasoning=_replaced(own, inline, [p.reasoning if p.closed else None for p in parts]),
    )
    return separated, gaps


def check_control_tokens(
    turns: Turns, tools: pa.StringArray | None, chat: ChatFormat
) -> tuple[Turns, pa.StringArray | None, dict[int, Reject]]:
    """Finds control tokens in content, and escapes them if the chat format says so.

    Returns:
        The turns, the tools, and row -> the first token.
    """
    tokens = chat.template.control_tokens
    found: dict[int, Reject] = {}
    fields = ("content", "reasoning", "tool_calls", "name")
    changed: dict[str, pa.StringArray] = {}
    rows = turns.rows
    for name in fields:
        texts = getattr(turns, name)
        if name == "tool_calls" and texts is not None:
            texts = _decoded(texts, tokens)
        marks = None if texts is None else control_tokens.find_texts(texts, tokens)
        if marks is None:
            continue
        for index in np.flatnonzero(marks).tolist():
            where = control_tokens.excerpt(texts[index].as_py(), tokens)
            bad = Reject("control-token", f"{ROLES[turns.roles[index]]}, {name}: {where}")
            found.setdefault(int(rows[index]), bad)
        if chat.control_tokens == "escape":
            changed[name] = control_tokens.escape_all(texts, tokens)
    marks = None if tools is None else control_tokens.find_texts(tools, tokens)
    if tools is not None and marks is not None:
        for row in np.flatnonzero(marks).tolist():
            where = control_tokens.excerpt(tools[row].as_py(), tokens)
            found.setdefault(row, Reject("control-token", f"tools: {where}"))
        if chat.control_tokens == "escape":
            tools = control_tokens.escape_all(tools, tokens)
    return replace(turns, **changed), tools, found


def _decoded(calls: pa.StringArray, tokens: tuple[str, ...]) -> pa.StringArray:
    """The calls, with arguments decoded where JSON escapes hide a token."""
    texts = calls.to_pylist()
    for index, text in enumerate(texts):
        # Arguments given as text are JSON inside JSON.
        if text is None or not any(escape in text for escape in (r"\\u", r"\\/")):
            continue
        made = json.loads(text)
        for call in made:
            arguments = call["function"]["arguments"]
            if isinstance(arguments, str):
                call["function"]["arguments"] = quoted(json.loads(arguments))
        if control_tokens.count(quoted(made), tokens):
            texts[index] = quoted(made)
    return pa.array(texts, pa.string())


def place_reasoning(
    turns: Turns, gaps: pa.StringArray | None, chat: ChatFormat
) -> tuple[Turns, np.ndarray]:
    """Moves reasoning to where the template and ``--think`` place it.

    Returns:
        The turns, and for each row whether its reasoning is lost although the flags do not remove
        it (bool).
    """
    lost = np.zeros(len(turns), bool)
    template, think = chat.template, chat.think
    if template.thinks == "own":
        return turns, lost
    is_assistant = turns.roles == ASSISTANT
    apart = np.zeros(len(is_assistant), bool)
    if turns.reasoning is not None:
        apart = is_assistant & pc.is_valid(turns.reasoning).to_numpy(zero_copy_only=False)
    mode = template.thinks if think == "auto" else think
    if mode in ("inline", "drop"):
        if apart.any():
            filled = pc.fill_null(pc.greater(pc.binary_length(turns.reasoning), 0), False)
            lost[turns.rows[apart & filled.to_numpy(zero_copy_only=False)]] = True
        content = turns.content
        if mode == "drop":
            # As in DeepSeek-R1's template: everything up to the last closing tag is removed, and
            # the line breaks after it stay.
            if gaps is not None:
                content = pc.binary_join_element_wise(gaps, content, "")
            closed = is_assistant & _contains(content, reasoning.CLOSE)
            if closed.any():
                lost[turns.rows[closed]] = True
                texts = content.filter(pa.array(closed)).to_pylist()
                content = _replaced(content, closed, [t.split(reasoning.CLOSE)[-1] for t in texts])
        return replace(turns, content=content, reasoning=None), lost
    content = turns.content
    if mode == "keep":
        if apart.any():
            filled = pc.greater(pc.binary_length(turns.reasoning), 0)
            shown = pc.and_(pc.fill_null(filled, False), pa.array(apart))
            bare = pc.ascii_ltrim(content, characters="\n")
            opened, closed = f"{reasoning.OPEN}\n", f"\n{reasoning.CLOSE}\n\n"
            joined = pc.binary_join_element_wise(opened, turns.reasoning, closed, bare, "")
            content = pc.if_else(shown, joined, content)
        return replace(turns, content=content, reasoning=None), lost
    # The empty block, or none, replaces inline reasoning.
    inline = is_assistant & _contains(content, reasoning.CLOSE)
    if inline.any():
        parts = map(reasoning.split, content.filter(pa.array(inline)).to_pylist())
        content = _replaced(content, inline, [part.answer for part in parts])
    touched = pa.array(is_assistant if mode == "empty" else apart | inline)
    if not pc.any(touched).as_py():
        return replace(turns, reasoning=None), lost
    bare = pc.ascii_ltrim(content, characters="\n")
    if mode == "empty":
        bare = pc.binary_join_element_wise(reasoning.EMPTY_BLOCK, bare, "")
    content = pc.if_else(touched, bare, content)
    return replace(turns, content=content, reasoning=None), lost


def _contains(texts: pa.StringArray, part: str) -> np.ndarray:
    if not control_tokens.may_contain(texts, (part,)):
        return np.zeros(len(texts), bool)
    return np.asarray(pc.match_substring(texts, part).to_numpy(zero_copy_only=False), bool)


def _replaced(
    array: pa.StringArray, which: np.ndarray, values: Sequence[str | None]
) -> pa.StringArray:
    return pc.replace_with_mask(array, pa.array(which), pa.array(values, pa.string()))
