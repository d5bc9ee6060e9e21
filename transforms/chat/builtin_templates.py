"""The built-in templates: the properties of each; its Jinja is in ``templates/``.

The Jinja is ours.  Tests compare its bytes with those of the models' published templates
(``tests/external/test_builtin_templates.py`` names the packages).
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from transforms.chat.arrow_renderer import ArrowRenderer, ReasoningForm
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.chat.template import DEFAULT_SYSTEM_PROMPT, ChatFormat, ChatTemplate

_FOLDER = Path(__file__).with_name("templates")

_QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_THINK_TAGS = ("<think>", "</think>")
_DEEPSEEK_TOOLS = tuple(
    f"<｜tool▁{what}｜>"
    for what in (
        *("calls▁begin", "calls▁end", "call▁begin", "call▁end"),
        *("outputs▁begin", "outputs▁end", "output▁begin", "output▁end", "sep"),
    )
)
_MISTRAL_TOOLS = ("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]")


def _chatml(
    default_system: str | None = None, reasoning: ReasoningForm | None = None
) -> ArrowRenderer:
    roles = ("system", "user", "assistant")
    return ArrowRenderer(
        prefixes={role: f"<|im_start|>{role}\n" for role in roles},
        suffixes=dict.fromkeys(roles, "<|im_end|>"),
        separator="\n",
        default_system=default_system,
        reasoning=reasoning,
    )


def _template(name: str, date: str) -> ChatTemplate:
    jinja = (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    like_chatml = partial(
        ChatTemplate,
        name,
        jinja,
        eos="<|im_end|>",
        user_marker="<|im_start|>user\n",
        assistant_marker="<|im_start|>assistant\n",
    )
    match name:
        case "chatml":
            return like_chatml(
                control_tokens=_CHATML_TOKENS,
                thinks="keep",
                text_arguments=True,
                arrow_renderer=_chatml(),
            )
        case "qwen3":
            return like_chatml(
                thinks="own",
                text_arguments=True,
                control_tokens=(*_CHATML_TOKENS, *_TOOL_TAGS, *_THINK_TAGS),
                arrow_renderer=_chatml(
                    reasoning=ReasoningForm(
                        *("<think>\n", "\n</think>\n\n"), strips=True, empty_in_prompt=True
                    )
                ),
            )
        case "qwen3-2507":
            # Its tokenizer has <think> and its template does not: the model never thinks.
            return like_chatml(
                text_arguments=True,
                arrow_renderer=_chatml(),
                control_tokens=(*_CHATML_TOKENS, *_TOOL_TAGS),
            )
        case "qwen2.5":
            return like_chatml(
                adds_system=True,
                arrow_renderer=_chatml(_QWEN_SYSTEM),
                control_tokens=(*_CHATML_TOKENS, *_TOOL_TAGS),
            )
        case "llama3":
            header = "<|start_header_id|>{}<|end_header_id|>\n\n"
            roles = ("system", "user", "assistant")
            return ChatTemplate(
                name,
                jinja,
                bos="<|begin_of_text|>",
                eos="<|eot_id|>",
                user_marker=header.format("user"),
                assistant_marker=header.format("assistant"),
                control_tokens=(
                    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>"),
                    *("<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
                ),
                tools=False,
                arrow_renderer=ArrowRenderer(
                    prefixes={role: header.format(role) for role in roles},
                    suffixes=dict.fromkeys(roles, "<|eot_id|>"),
                    trimmed=("system", "user", "assistant", "tool"),
                ),
            )
        case "mistral":
            return ChatTemplate(
                name,
                jinja,
                bos="<s>",
                eos="</s>",
                user_marker="[INST]",
                assistant_marker="[/INST]",
                control_tokens=(
                    *("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
                    *(*_MISTRAL_TOOLS, "[/TOOL_RESULTS]", "[IMG]"),
                ),
                tools=False,
                adds_system=True,
                arrow_renderer=ArrowRenderer(
                    prefixes={"system": "[SYSTEM_PROMPT]", "user": "[INST]", "assistant": ""},
                    suffixes={"system": "[/SYSTEM_PROMPT]", "user": "[/INST]", "assistant": "</s>"},
                    default_system=_mistral_system(date),
                ),
            )
        case "gemma":
            return ChatTemplate(
                name,
                jinja,
                bos="<bos>",
                eos="<end_of_turn>",
                user_marker="<start_of_turn>user\n",
                assistant_marker="<start_of_turn>model\n",
                control_tokens=(
                    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
                    *("<start_of_image>", "<end_of_image>"),
                ),
                system="first",
                tools=False,
                alternates=True,
                arrow_renderer=ArrowRenderer(
                    prefixes={
                        "user": "<start_of_turn>user\n",
                        "assistant": "<start_of_turn>model\n",
                    },
                    suffixes=dict.fromkeys(("user", "assistant"), "<end_of_turn>"),
                    separator="\n",
                    trimmed=("user", "assistant"),
                    system_separator="\n\n",
                ),
            )
        case "deepseek-r1":
            return ChatTemplate(
                name,
                jinja,
                bos="<｜begin▁of▁sentence｜>",
                eos="<｜end▁of▁sentence｜>",
                user_marker="<｜User｜>",
                assistant_marker="<｜Assistant｜>",
                control_tokens=(
                    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>"),
                    *("<｜Assistant｜>", *_DEEPSEEK_TOOLS, *_THINK_TAGS),
                ),
                system="first",
                tools=False,
                thinks="drop",
                arrow_renderer=ArrowRenderer(
                    prefixes={"user": "<｜User｜>", "assistant": "<｜Assistant｜>"},
                    suffixes={"assistant": "<｜end▁of▁sentence｜>"},
                ),
            )
        case "gpt-oss":
            return ChatTemplate(
                name,
                jinja,
                eos="<|return|>",
                user_marker="<|start|>user<|message|>",
                assistant_marker="<|start|>assistant",
                control_tokens=(
                    *("<|startoftext|>", "<|endoftext|>", "<|start|>", "<|end|>", "<|message|>"),
                    *("<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"),
                ),
                system="first",
                thinks="own",
                arrow_renderer=ArrowRenderer(
                    prefixes={
                        "system": "<|start|>developer<|message|># Instructions\n\n",
                        "user": "<|start|>user<|message|>",
                        "assistant": "<|start|>assistant",
                    },
                    suffixes={"system": "\n\n<|end|>", "user": "<|end|>", "assistant": "<|end|>"},
                    final_suffixes={"assistant": "<|return|>"},
                    start=_gpt_oss_system(date),
                    drops_empty_system=True,
                    reasoning=ReasoningForm(
                        prefix="<|channel|>analysis<|message|>",
                        suffix="<|end|><|start|>assistant",
                        answer="<|channel|>final<|message|>",
                        auto="last-turn",
                    ),
                ),
            )
    raise KeyError(name)


def _mistral_system(date: str) -> str:
    """The system prompt of Mistral Small 3, which its template adds."""
    return (
        "You are Mistral Small 3, a Large Language Model (LLM) created by Mistral AI, a French "
        "startup headquartered in Paris.\nYour knowledge base was last updated on 2023-10-01. The "
        f"current date is {date}.\n\nWhen you're not sure about some information, you say that you "
        "don't have the information and don't make up anything.\nIf the user's question is not "
        "clear, ambiguous, or does not provide enough context for you to accurately answer the "
        "question, you do not try to answer it right away and you rather ask the user to clarify "
        'their request (e.g. "What are some good restaurants around me?" => "Where are you?" or '
        '"When is the next flight to Tokyo" => "Where do you travel from?")'
    )


def _gpt_oss_system(date: str) -> str:
    """The system turn of every text of gpt-oss, without tools."""
    return (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        f"Knowledge cutoff: 2024-06\nCurrent date: {date}\n\nReasoning: medium\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every "
        "message.<|end|>"
    )


NAMES = (
    *("chatml", "qwen3", "qwen3-2507", "qwen2.5", "llama3", "mistral", "gemma"),
    *("deepseek-r1", "gpt-oss"),
)


@cache
def built_in(name: str, date: str) -> ChatTemplate:
    """The template of that name; ``date`` is its current date.  KeyError for other names."""
    return _template(name, date)


def chatml(system_prompt: str = DEFAULT_SYSTEM_PROMPT) -> ChatFormat:
    """The guide's format: ChatML with one system turn, which "" leaves out."""
    return ChatFormat(built_in("chatml", DEFAULT_DATE), system_prompt or None)
