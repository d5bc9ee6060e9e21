"""What a trainer must be told of a set: its template, its markers, and how it is loaded.

Kept in the manifest and shown on the card.  ``FOLDER`` stands for the set's place, which a set does
not know: it can be copied.
"""

from __future__ import annotations

import json

from transforms.chat.output_columns import OutputColumns
from transforms.chat.template import ChatFormat
from transforms.storage.manifest_parts import Training

_LOAD = 'from datasets import load_from_disk\n\ndata = load_from_disk("FOLDER")\n'


def training_facts(chat: ChatFormat, output_columns: OutputColumns) -> Training:
    """Names and strings for trainers, with a snippet for each of some."""
    template = chat.template
    return Training(
        template=template.name,
        template_sha256=template.sha256,
        user_marker=template.user_marker,
        assistant_marker=template.assistant_marker,
        eos_token=template.eos,
        bos_in_text=bool(chat.start),
        snippets={
            "TRL": _trl(chat, output_columns),
            "axolotl": _axolotl(output_columns),
            "LLaMA-Factory": _llama_factory(output_columns),
            "Unsloth": _unsloth(chat, output_columns),
            "the guide's trainer": "python train.py --dataset-path FOLDER",
        },
    )


def _trl(chat: ChatFormat, output_columns: OutputColumns) -> str:
    eos = f"eos_token={json.dumps(chat.template.eos, ensure_ascii=False)}"
    options = f'dataset_text_field="text", {eos}'
    if output_columns.with_prompts:
        options = f"completion_only_loss=True, {eos}"
    elif "messages" in output_columns.names:
        options = "assistant_only_loss=True"
    return (
        "from trl import SFTConfig, SFTTrainer\n"
        f"{_LOAD}"
        f"args = SFTConfig({options}, max_length=4096)  # the default cuts at 1,024 tokens\n"
        "trainer = SFTTrainer(\n"
        '    MODEL, args=args, train_dataset=data["train"], eval_dataset=data["validation"]\n'
        ")"
    )


def _axolotl(output_columns: OutputColumns) -> str:
    if "text" in output_columns.names:
        how = "    type: completion\n    field: text"
    elif "messages" in output_columns.names:
        how = "    type: chat_template\n    field_messages: messages"
    else:
        how = "    type: completion  # of prompt and completion together: prepare --columns text"
    return f"datasets:\n  - path: FOLDER\n{how}"


def _llama_factory(output_columns: OutputColumns) -> str:
    entry: dict[str, object] = {"hf_hub_url": "FOLDER", "split": "train"}
    if "text" in output_columns.names:
        entry["columns"] = {"prompt": "text"}
        stage = "stage: pt"
    elif "messages" in output_columns.names:
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
        stage = "stage: sft"
    else:
        entry["columns"] = {"prompt": "prompt", "response": "completion"}
        stage = "stage: sft, template: empty"
    return f"# dataset_info.json; {stage}\n{json.dumps({'prepared': entry}, indent=2)}"


def _unsloth(chat: ChatFormat, output_columns: OutputColumns) -> str:
    template = chat.template
    if "text" not in output_columns.names:
        return _trl(chat, output_columns).replace(
            "from trl", "import unsloth  # before trl\nfrom trl", 1
        )
    return (
        "from unsloth.chat_templates import train_on_responses_only\n\n"
        "# trainer: as for TRL\n"
        "trainer = train_on_responses_only(\n"
        "    trainer,\n"
        f"    instruction_part={json.dumps(template.user_marker, ensure_ascii=False)},\n"
        f"    response_part={json.dumps(template.assistant_marker, ensure_ascii=False)},\n"
        ")"
    )
