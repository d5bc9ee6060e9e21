"""Settings for trainers, by the columns of a set: what each trainer reads, and nothing that harms.

A trainer that can use several kinds of columns gets the first of ``messages``,
``prompt-completion`` and ``text``: the first two train on answers alone.  ``FOLDER`` stands for the
set's place, which a set does not know, and ``MODEL`` for the model's name.

Read in TRL 1.16 (``sft_trainer``, ``chat_template_utils``), axolotl at 067b021 (``user_defined``,
``chat_template``, ``completion``, ``utils/data``), LLaMA-Factory at ff6d4d1 (``data/converter``,
``data/parser``, ``data/template``) and unsloth-zoo (``dataset_utils.sft_prepare_dataset``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from transforms.chat.output_columns import OutputColumns
from transforms.chat.template import ChatFormat
from transforms.dataset.trl_templates import can_mask
from transforms.text.visible import json_visible

TRL, AXOLOTL, UNSLOTH = "TRL", "axolotl", "Unsloth"
LLAMA_FACTORY, LLAMA_FACTORY_RUN = "LLaMA-Factory", "LLaMA-Factory, training arguments"
SCRIPT = "train.py"

LANGUAGES = {
    TRL: "python",
    AXOLOTL: "yaml",
    LLAMA_FACTORY: "json",
    LLAMA_FACTORY_RUN: "yaml",
    UNSLOTH: "python",
    SCRIPT: "bash",
}
"""The language of each snippet, for the colours of a page."""

_LLAMA_FACTORY_TEMPLATES = {
    "chatml": "chatml",
    "qwen3": "qwen3",
    "qwen3-2507": "qwen3_nothink",
    "qwen2.5": "qwen",
    "llama3": "llama3",
    "mistral": "mistral_small",
    "gemma": "gemma3",
    "deepseek-r1": "deepseekr1",
    "gpt-oss": "gpt_oss",
}
"""Our templates, and LLaMA-Factory's names of them."""


@dataclass(frozen=True)
class _Set:
    chat: ChatFormat
    output_columns: OutputColumns
    with_validation: bool

    def has(self, kind: str) -> bool:
        return kind in self.output_columns.names

    @property
    def eos(self) -> str:
        """The end of a text, if it is one token: trainers look for it in their tokenizer."""
        eos = self.chat.template.eos
        return eos if eos in self.chat.template.control_tokens else ""


class _NoSettings(Exception):  # noqa: N818 (it is caught here, and is an answer)
    """No settings are safe; the message says what to do instead."""


def snippets(
    chat: ChatFormat, output_columns: OutputColumns, with_validation: bool = True
) -> tuple[dict[str, str], dict[str, str]]:
    """Settings by trainer, and for each trainer without any a sentence that says what to do.

    Args:
        chat: The chat format of the texts.
        output_columns: The columns of the set.
        with_validation: Whether trainers are told of the validation split.
    """
    own = _Set(chat, output_columns, with_validation)
    makers: dict[str, Callable[[_Set], str]] = {
        TRL: _trl,
        AXOLOTL: _axolotl,
        LLAMA_FACTORY: _llama_factory,
        LLAMA_FACTORY_RUN: _llama_factory_run,
        UNSLOTH: _unsloth,
        SCRIPT: lambda own: "python train.py --dataset-path FOLDER",
    }
    made, instead = {}, {}
    for trainer, make in makers.items():
        try:
            made[trainer] = make(own)
        except _NoSettings as reason:
            instead[trainer] = str(reason)
    if LLAMA_FACTORY in instead:
        del instead[LLAMA_FACTORY_RUN]
    return made, instead


# ---- TRL and Unsloth


def _trl(own: _Set) -> str:
    if own.has("prompt-completion"):
        return _trainer(own, "completion_only_loss=True")
    if own.has("messages") and can_mask(own.chat.template):
        return _trainer(own, "assistant_only_loss=True", eos=False)
    if own.has("text"):
        return _trainer(own, 'dataset_text_field="text"', text_only=own.has("messages"))
    raise _NoSettings(
        "TRL trains on the answers of `messages` alone only where it knows the model's template, "
        "and not every version knows this one. Prepare the set with `--columns prompt-completion`."
    )


def _unsloth(own: _Set) -> str:
    template = own.chat.template
    first = "import unsloth  # before trl"
    if own.has("prompt-completion"):
        return f"{first}\n{_trainer(own, 'completion_only_loss=True')}"
    if not own.has("text"):
        raise _NoSettings(
            "Unsloth does not render `messages` itself. Prepare the set with `--columns text`, or "
            "`text,messages`; Unsloth then masks the prompts by the markers above."
        )
    if not template.user_marker or not template.assistant_marker:
        raise _NoSettings(
            "Unsloth masks prompts by markers, and this template has none. Prepare the set with "
            "`--columns prompt-completion`."
        )
    trainer = _trainer(own, 'dataset_text_field="text"', text_only=own.has("messages"))
    return (
        f"{first}\nfrom unsloth.chat_templates import train_on_responses_only\n{trainer}\n"
        "trainer = train_on_responses_only(\n"
        "    trainer,\n"
        f"    instruction_part={_quoted(template.user_marker)},\n"
        f"    response_part={_quoted(template.assistant_marker)},\n"
        ")"
    )


def _trainer(own: _Set, options: str, *, eos: bool = True, text_only: bool = False) -> str:
    """A trainer of TRL; ``text_only`` hides other columns, which TRL would prefer."""
    if eos and own.eos:
        options += f", eos_token={_quoted(own.eos)}"
    lines = [
        "from datasets import load_from_disk",
        "from trl import SFTConfig, SFTTrainer",
        "",
        'data = load_from_disk("FOLDER")' + ('.select_columns(["text"])' if text_only else ""),
    ]
    if own.output_columns.tools and own.has("messages") and not text_only:
        lines += [
            "# TRL reads tools as JSON, and fails at the empty text of a row without any",
            'data = data.map(lambda row: {"tools": row["tools"] or None})',
        ]
    evaluation = ', eval_dataset=data["validation"]' if own.with_validation else ""
    lines += [
        f"args = SFTConfig({options}, max_length=4096)  # the default cuts at 1,024 tokens",
        "trainer = SFTTrainer(",
        f'    MODEL, args=args, train_dataset=data["train"]{evaluation}',
        ")",
    ]
    return "\n".join(lines)


# ---- axolotl


def _axolotl(own: _Set) -> str:
    if own.has("messages"):
        how = ["type: chat_template", "field_messages: messages"]
        if own.chat.template.name == "chatml" and not own.chat.template.foreign:
            how.append("chat_template: chatml")
        if own.output_columns.tools:
            how.append("field_tools: tools  # axolotl fails at a row without tools")
    elif own.has("prompt-completion"):
        how = [
            "type:",
            "  field_instruction: prompt",
            "  field_output: completion",
            '  format: "{instruction}"',
            '  no_input_format: "{instruction}"',
        ]
    else:
        how = ["type: completion", "field: text"]
    entries = [("datasets", "train")]
    if own.with_validation:
        entries.append(("test_datasets", "validation"))
    lines = [
        line
        for key, split in entries
        for line in (
            f"{key}:",
            "  - path: FOLDER",
            f"    split: {split}",
            *(f"    {setting}" for setting in how),
        )
    ]
    if own.output_columns.names != ("text",):
        lines.append("train_on_inputs: false")
    if own.eos:
        lines += ["special_tokens:", f"  eos_token: {_quoted(own.eos)}"]
    return "\n".join(lines)


# ---- LLaMA-Factory


def _llama_factory(own: _Set) -> str:
    columns = own.output_columns
    entry: dict[str, object] = {"hf_hub_url": "FOLDER", "split": "train"}
    if own.has("messages"):
        if columns.tools or columns.reasoning:
            lost = "quotes the arguments of tool calls twice" if columns.tools else ""
            left = "leaves `reasoning_content` out" if columns.reasoning else ""
            raise _NoSettings(
                f"LLaMA-Factory {' and '.join(part for part in (lost, left) if part)}. Prepare the "
                "set with `--columns prompt-completion`."
            )
        entry |= {
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        }
    elif own.has("prompt-completion"):
        if own.chat.template.bos and not own.chat.start:
            raise _NoSettings(
                "LLaMA-Factory adds no BOS token to a prompt and a completion. Prepare the set "
                "with `--columns prompt-completion --bos keep`."
            )
        entry["columns"] = {"prompt": "prompt", "response": "completion"}
    else:
        raise _NoSettings(
            "LLaMA-Factory reads `text` in its pre-training stage, which adds a second EOS token, "
            "trains on the prompts and packs across rows. Prepare the set with `--columns messages`"
            " or `prompt-completion`."
        )
    made = {"prepared": entry}
    if own.with_validation:
        made["prepared_validation"] = {**entry, "split": "validation"}
    return json.dumps(made, indent=2)


def _llama_factory_run(own: _Set) -> str:
    _llama_factory(own)
    template = own.chat.template
    name = "empty"
    if own.has("messages"):
        name = "MODEL_TEMPLATE  # LLaMA-Factory's name of the model's template"
        if not template.foreign:
            name = _LLAMA_FACTORY_TEMPLATES[template.name]
    lines = ["stage: sft", f"template: {name}", "dataset: prepared"]
    if own.with_validation:
        lines.append("eval_dataset: prepared_validation")
    if own.has("messages"):
        lines.append("# rows whose turns do not alternate, beginning with the user, are skipped")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text as a string of Python, JSON and YAML, without characters that do not show."""
    return json_visible(json.dumps(text, ensure_ascii=False))
