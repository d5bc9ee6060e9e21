"""Which trainer is told what, for each kind of columns: settings that work, or how to get some."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from transforms.chat.builtin_templates import NAMES, built_in
from transforms.chat.output_columns import OutputColumns
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.chat.template import ChatFormat, ChatTemplate
from transforms.dataset.card import card
from transforms.dataset.trainer_facts import training_facts
from transforms.dataset.trainer_snippets import (
    AXOLOTL,
    LANGUAGES,
    LLAMA_FACTORY,
    LLAMA_FACTORY_RUN,
    TRL,
    UNSLOTH,
)
from transforms.dataset.trl_templates import KNOWN, can_mask
from transforms.storage.manifest_parts import Training

COLUMNS = (
    *(("text",), ("messages",), ("prompt-completion",)),
    *(("text", "messages"), ("text", "prompt-completion")),
)
TRAINERS = (TRL, AXOLOTL, LLAMA_FACTORY, UNSLOTH)


def chat(name: str = "qwen3", keep_bos: bool = False) -> ChatFormat:
    return ChatFormat(built_in(name, DEFAULT_DATE), keep_bos=keep_bos)


def facts(
    *names: str,
    template: str = "qwen3",
    keep_bos: bool = False,
    validation: bool = True,
    **more: bool,
) -> Training:
    columns = OutputColumns(names, **more)
    return training_facts(chat(template, keep_bos), columns, validation)


def snippet(found: Training, trainer: str) -> str:
    assert found.snippets is not None
    return found.snippets.get(trainer, "")


def told(found: Training, trainer: str) -> str:
    assert found.instead is not None
    return found.instead.get(trainer, "")


TABLE: dict[tuple[str, ...], dict[str, str]] = {
    ("text",): {
        TRL: 'dataset_text_field="text"',
        AXOLOTL: "type: completion",
        LLAMA_FACTORY: "instead: --columns messages",
        UNSLOTH: "train_on_responses_only",
    },
    ("messages",): {
        TRL: "assistant_only_loss=True",
        AXOLOTL: "type: chat_template",
        LLAMA_FACTORY: '"formatting": "sharegpt"',
        UNSLOTH: "instead: --columns text",
    },
    ("prompt-completion",): {
        TRL: "completion_only_loss=True",
        AXOLOTL: "field_instruction: prompt",
        LLAMA_FACTORY: '"response": "completion"',
        UNSLOTH: "completion_only_loss=True",
    },
    ("text", "messages"): {
        TRL: "assistant_only_loss=True",
        AXOLOTL: "type: chat_template",
        LLAMA_FACTORY: '"formatting": "sharegpt"',
        UNSLOTH: "train_on_responses_only",
    },
    ("text", "prompt-completion"): {
        TRL: "completion_only_loss=True",
        AXOLOTL: "field_instruction: prompt",
        LLAMA_FACTORY: '"response": "completion"',
        UNSLOTH: "completion_only_loss=True",
    },
}


@pytest.mark.parametrize("names", COLUMNS, ids=",".join)
@pytest.mark.parametrize("trainer", TRAINERS)
def test_each_trainer_reads_the_columns_that_train_on_answers(
    names: tuple[str, ...], trainer: str
) -> None:
    found, expected = facts(*names), TABLE[names][trainer]
    if expected.startswith("instead: "):
        assert snippet(found, trainer) == ""
        assert expected.removeprefix("instead: ") in told(found, trainer)
    else:
        assert expected in snippet(found, trainer)
        assert told(found, trainer) == ""


@pytest.mark.parametrize("names", COLUMNS, ids=",".join)
@pytest.mark.parametrize("more", [{}, {"tools": True}, {"reasoning": True}], ids=str)
def test_every_snippet_is_well_formed_and_names_columns_that_are_there(
    names: tuple[str, ...], more: dict[str, bool]
) -> None:
    for template in NAMES:
        for validation in (True, False):
            _check_snippets(names, more, template, validation)


def _check_snippets(
    names: tuple[str, ...], more: dict[str, bool], template: str, validation: bool
) -> None:
    found = facts(*names, template=template, validation=validation, **more)
    columns = OutputColumns(names, **more).columns
    assert found.snippets and found.instead is not None
    assert {*TRAINERS} <= {*found.snippets, *found.instead}
    assert not found.snippets.keys() & found.instead.keys()
    for trainer, text in found.snippets.items():
        assert ("validation" in text) == validation or trainer == "train.py"
        match LANGUAGES[trainer]:
            case "python":
                ast.parse(text)
                assert text.startswith("import unsloth") == (trainer == UNSLOTH)
            case "yaml":
                _check_yaml(yaml.safe_load(text), columns, trainer)
            case "json":
                for entry in json.loads(text).values():
                    assert set(entry["columns"].values()) <= set(columns)
                    assert entry["split"] in ("train", "validation")


def _check_yaml(found: dict[str, Any], columns: tuple[str, ...], trainer: str) -> None:
    if trainer == LLAMA_FACTORY_RUN:
        assert found["stage"] == "sft", "the pre-training stage adds a second EOS token"
        assert found["template"] != "empty" or "prompt" in columns
        return
    for key, split in (("datasets", "train"), ("test_datasets", "validation")):
        for entry in found.get(key, []):
            assert entry["split"] == split
            kind = entry["type"]
            own = kind if isinstance(kind, dict) else entry
            named = [own[name] for name in own if name.startswith("field")]
            assert named
            assert set(named) <= set(columns)


def test_what_axolotl_reads_of_a_prompt_and_a_completion() -> None:
    """As axolotl's ``user_defined`` strategy makes it: the prompt as it is, then the answer."""
    made = yaml.safe_load(snippet(facts("prompt-completion"), AXOLOTL))
    kind = made["datasets"][0]["type"]
    row = {"prompt": "a {b} ", "completion": "c"}
    prompt = kind["no_input_format"].format(instruction=row[kind["field_instruction"]])
    assert (prompt, row[kind["field_output"]]) == ("a {b} ", "c")
    assert made["train_on_inputs"] is False
    assert made["special_tokens"] == {"eos_token": "<|im_end|>"}


@pytest.mark.parametrize("template", ["chatml", "mistral", "deepseek-r1"])
def test_templates_that_trl_cannot_patch_get_no_assistant_only_loss(template: str) -> None:
    for names in COLUMNS:
        assert "assistant_only_loss" not in str(facts(*names, template=template).snippets)
    assert "--columns prompt-completion" in told(facts("messages", template=template), TRL)
    both = facts("text", "messages", template=template)
    assert '.select_columns(["text"])' in snippet(both, TRL)
    assert both.notes and "TRL learns the prompts" in both.notes[0]


def test_of_foreign_templates_trl_masks_those_that_it_knows_or_that_are_marked() -> None:
    def foreign(jinja: str) -> ChatTemplate:
        return ChatTemplate("hub:a/b", jinja, foreign=True)

    assert not can_mask(foreign("{{ messages }}"))
    assert can_mask(foreign("{%- generation -%}{{ messages }}{% endgeneration %}"))
    assert not can_mask(replace(foreign("x"), name="qwen3"))
    assert all(len(digest) == 64 for digest in KNOWN)


@pytest.mark.parametrize(
    ("more", "reason"),
    [({"tools": True}, "tool calls"), ({"reasoning": True}, "reasoning_content")],
)
def test_llama_factory_gets_no_turns_that_it_would_change(
    more: dict[str, bool], reason: str
) -> None:
    found = facts("messages", **more)
    assert snippet(found, LLAMA_FACTORY) == snippet(found, LLAMA_FACTORY_RUN) == ""
    assert reason in told(found, LLAMA_FACTORY)
    assert "--columns prompt-completion" in told(found, LLAMA_FACTORY)


def test_llama_factory_gets_no_text_without_its_bos_token() -> None:
    names = ("prompt-completion",)
    assert "--bos keep" in told(facts(*names, template="llama3"), LLAMA_FACTORY)
    kept = facts(*names, template="llama3", keep_bos=True)
    assert "completion" in snippet(kept, LLAMA_FACTORY)
    assert kept.notes and "has it twice" in kept.notes[-1]


def test_rows_without_tools_do_not_stop_trl() -> None:
    """TRL parses the column ``tools`` of each row as JSON, and "" is none."""
    assert 'row["tools"] or None' in snippet(facts("messages", tools=True), TRL)
    assert "tools" not in snippet(facts("messages"), TRL)


@pytest.mark.parametrize(
    ("names", "template", "expected"),
    [
        (("text",), "qwen3", ["learn the prompts of this set"]),
        (("prompt-completion",), "qwen3", ["Only the last answer"]),
        (("messages",), "qwen3", ["the model's own template", "empty `<think>` block"]),
        (("messages",), "gemma", ["the model's own template"]),
        (("messages",), "llama3", ["the model's own template", "Llama 3.1 and later"]),
        (("text", "prompt-completion"), "qwen3", ["Only the last answer"]),
    ],
)
def test_the_notes_say_what_is_trained(
    names: tuple[str, ...], template: str, expected: list[str]
) -> None:
    notes = facts(*names, template=template).notes or ()
    assert len(notes) == len(expected)
    assert all(part in note for part, note in zip(expected, notes, strict=True))


def test_the_card_s_section_begins_with_what_is_trained() -> None:
    found = facts("text")
    text = card("", training=found).decode()
    section = text.partition("\n## Training\n\n")[2]
    assert section.startswith("TRL and axolotl learn the prompts of this set")
    assert "`--columns prompt-completion`" in section.splitlines()[0]
    assert "`--columns messages`" in section.splitlines()[0]
    for trainer, made in (found.snippets or {}).items():
        assert f"**{trainer}**\n\n```{LANGUAGES[trainer]}\n{made}\n```" in section
    assert f"**{LLAMA_FACTORY}**: {told(found, LLAMA_FACTORY)}" in section
