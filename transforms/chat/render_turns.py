"""The rendering rule: turns become texts, by Arrow where that can be done, else by the sandbox.

Reject codes of this step:

    tools-not-in-template   the template has no form for tool calls and results
    system-not-first        it has a system turn at the beginning only
    roles-must-alternate    it takes user and assistant in turns only
    control-token           content that holds one of its control tokens
    template-refused        it raised an error for the row
    turn-dropped            a turn is not in the text that it made
    prompt-not-found        where the prompt ends cannot be told (for prompt and completion)

Events, counted by row, of rows that are kept:

    reasoning-not-in-text   there is reasoning, and the template has no place for it
    tools-not-in-text       tools were to be rendered, and the template has no place for them
    template-system-prompt  the template added a system prompt that nobody gave
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
from transforms.chat.jinja_renderer import JinjaRenderer, RowRenderer, quoted
from transforms.chat.template import ChatFormat, ChatTemplate
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
    """Texts of rows, and what goes with them; all but ``bad`` has an entry for every row.

    ``texts`` means nothing for the rows in ``bad`` (row -> why).  ``turns`` are those that were
    given, with the system prompt, with what was escaped, and with inline reasoning apart where the
    template looks for it.  ``prompts`` is the bytes of each text that
    are prompt, where they were asked for.
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
    """The texts of rows in a chat format; ``tools`` is each row's list of tools as JSON."""
    template = chat.template
    if chat.system_prompt is not None:
        turns = add_system(turns, chat.system_prompt)
    tools = tools if chat.tools else None
    offered = np.zeros(len(turns), bool)
    if tools is not None and not template.tools:
        offered, tools = np.asarray(pc.is_valid(tools).to_numpy(zero_copy_only=False)), None
    bad = {**unsupported(turns, template), **known_bad}
    parted, gaps = split_reasoning(turns, template)
    parted, tools, held = check_control_tokens(parted, tools, chat)
    if chat.control_tokens == "reject":
        bad = {**held, **bad}
    placed, lost = place(parted, gaps, chat)
    prompts = None
    if _is_plain(placed, tools, template):
        texts, prompts = chat.render_turns(placed)
    else:
        jinja = JinjaRenderer(placed, tools, chat, sandbox())
        texts = jinja.texts(bad, lost, offered)
        if with_prompts:
            prompts = jinja.prompts(texts, bad)
    good = np.ones(len(turns), bool)
    good[list(bad)] = False
    note_counts = {
        NO_REASONING: int((lost & good).sum()),
        NO_TOOLS: int((offered & good).sum()),
        OWN_SYSTEM: int(((turns.first(SYSTEM) < 0) & good).sum()) if template.adds_system else 0,
        ESCAPED: len(held.keys() - bad) if chat.control_tokens == "escape" else 0,
        KEPT: len(held.keys() - bad) if chat.control_tokens == "keep" else 0,
    }
    return Rendered(texts, parted, bad, {k: n for k, n in note_counts.items() if n}, prompts)


def add_system(turns: Turns, prompt: str) -> Turns:
    """The turns with a system turn before those rows that have none."""
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
    """Rows for which the template has no form."""
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
        spoken = roles != SYSTEM
        place = np.cumsum(spoken) - spoken
        place = place - np.repeat(place[turns.offsets[:-1]], np.diff(turns.offsets))
        wrong = spoken & ((roles == USER) != (place % 2 == 0))
        mark("roles-must-alternate", wrong, "takes user and assistant in turns only")
    return bad


def split_reasoning(turns: Turns, template: ChatTemplate) -> tuple[Turns, pa.StringArray | None]:
    """The turns with inline reasoning apart, where the template looks for it in the content.

    Returns with them the line breaks that stood between the two; None where nothing was parted.
    """
    if template.thinks not in ("own", "drop"):
        return turns, None
    inline = (turns.roles == ASSISTANT) & _holds(turns.content, reasoning.CLOSE)
    own = turns.reasoning
    own = pa.nulls(len(turns.roles), pa.string()) if own is None else own
    # Where there is reasoning in a key already, the other one is content.
    inline &= pc.is_null(own).to_numpy(zero_copy_only=False)
    if not inline.any():
        return turns, None
    indices = pa.array(np.flatnonzero(inline))
    parts = [reasoning.split(text) for text in turns.content.take(indices).to_pylist()]
    gaps = _with(pa.array([""] * len(inline), pa.string()), inline, [p.gap for p in parts])
    parted = replace(
        turns,
        content=_with(turns.content, inline, [p.answer for p in parts]),
        reasoning=_with(own, inline, [p.reasoning if p.closed else None for p in parts]),
    )
    return parted, gaps


def check_control_tokens(
    turns: Turns, tools: pa.StringArray | None, chat: ChatFormat
) -> tuple[Turns, pa.StringArray | None, dict[int, Reject]]:
    """Finds control tokens in content: (turns, tools, row -> where one is); escaped if so asked."""
    tokens = chat.template.control_tokens
    found: dict[int, Reject] = {}
    fields = ("content", "reasoning", "tool_calls", "name")
    changed: dict[str, pa.StringArray] = {}
    rows = turns.rows
    for name in fields:
        texts = getattr(turns, name)
        if name == "tool_calls" and texts is not None:
            texts = _revealed(texts, tokens)
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


def _revealed(calls: pa.StringArray, tokens: tuple[str, ...]) -> pa.StringArray:
    """The calls with their arguments decoded where their JSON's escapes hide a token."""
    texts = calls.to_pylist()
    for index, text in enumerate(texts):
        # Arguments that are text are JSON in JSON.
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


def place(turns: Turns, gaps: pa.StringArray | None, chat: ChatFormat) -> tuple[Turns, np.ndarray]:
    """The turns with their reasoning where the template and ``--think`` want it.

    Returns with them a mark for each row whose reasoning is in no text though nobody asked for
    that.
    """
    lost = np.zeros(len(turns), bool)
    template, think = chat.template, chat.think
    if template.thinks == "own":
        return turns, lost
    speaks = turns.roles == ASSISTANT
    apart = np.zeros(len(speaks), bool)
    if turns.reasoning is not None:
        apart = speaks & pc.is_valid(turns.reasoning).to_numpy(zero_copy_only=False)
    mode = template.thinks if think == "auto" else think
    if mode in ("inline", "drop"):
        if apart.any():
            said = pc.fill_null(pc.greater(pc.binary_length(turns.reasoning), 0), False)
            lost[turns.rows[apart & said.to_numpy(zero_copy_only=False)]] = True
        content = turns.content
        if mode == "drop":
            # As DeepSeek-R1's template does it: whatever stands before the last closing tag goes,
            # and the line breaks behind that stay.
            if gaps is not None:
                content = pc.binary_join_element_wise(gaps, content, "")
            closed = speaks & _holds(content, reasoning.CLOSE)
            if closed.any():
                lost[turns.rows[closed]] = True
                texts = content.filter(pa.array(closed)).to_pylist()
                content = _with(content, closed, [t.split(reasoning.CLOSE)[-1] for t in texts])
        return replace(turns, content=content, reasoning=None), lost
    touched = apart
    if mode == "strip":
        touched = apart | (speaks & _holds(turns.content, reasoning.CLOSE))
    elif mode == "empty":
        touched = speaks
    if not touched.any():
        return replace(turns, reasoning=None), lost
    indices = pa.array(np.flatnonzero(touched))
    thoughts: list[str | None] = [None] * len(indices)
    if turns.reasoning is not None:
        thoughts = turns.reasoning.take(indices).to_pylist()
    texts = turns.content.take(indices).to_pylist()
    placed = [_placed(*pair, mode) for pair in zip(texts, thoughts, strict=True)]
    return replace(turns, content=_with(turns.content, touched, placed), reasoning=None), lost


def _placed(content: str, apart: str | None, mode: str) -> str:
    if mode == "keep":
        return reasoning.block(apart) + content.lstrip("\n") if apart else content
    # What stands inline makes way for the empty block, or for none.
    parted = reasoning.split(content)
    answer = (parted.answer if parted.closed else content).lstrip("\n")
    return reasoning.EMPTY_BLOCK + answer if mode == "empty" else answer


def _holds(texts: pa.StringArray, part: str) -> np.ndarray:
    return np.asarray(pc.match_substring(texts, part).to_numpy(zero_copy_only=False), bool)


def _with(array: pa.StringArray, which: np.ndarray, values: Sequence[str | None]) -> pa.StringArray:
    return pc.replace_with_mask(array, pa.array(which), pa.array(values, pa.string()))


def _is_plain(turns: Turns, tools: pa.StringArray | None, template: ChatTemplate) -> bool:
    """Is there no turn but what the constant parts have a form for?"""
    if template.arrow_renderer is None or (tools is not None and tools.null_count < len(tools)):
        return False
    # Where the template has no form for them, the rows are rejects already.
    uses_tools = turns.tool_calls is not None or bool((turns.roles == TOOL).any())
    return not (template.tools and uses_tools)
