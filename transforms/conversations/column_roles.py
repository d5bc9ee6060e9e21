"""Column roles: what a column's name says of its cells.  ONE table; every rule on names asks it.

Names are compared without case, and without ``-``, ``_`` and spaces.  A name that the table does
not have says nothing.  The names are those of the trainers' documentation and
of data sets that their pages name:

    TRL, "Dataset formats and types"    prompt, completion, chosen, rejected, label, messages
    axolotl, "Instruction Tuning"       instruction, input, output, response, question, answer,
                                        article, choices, solution, explanation, system
    LLaMA-Factory, data/README          instruction, input, output, system, history, tools, chosen,
                                        rejected, kto_tag, conversations
    ms-swift, preprocessor/core.py      query, response, history, system_prompt, targets, target,
                                        rejected_response, rejected_messages, loss
    Unsloth, "Datasets Guide"           conversations, instruction, input, output, text
    OpenAI, fine-tuning API             messages, weight, tools, functions
    Alpaca, Dolly 15k, OpenOrca         instruction, input, output; instruction, context, response;
                                        system_prompt, question, response
    SQuAD, BoolQ, Natural Questions     context, question, answers; question, passage, answer
    NuminaMath, GSM8K, MATH             problem, solution, answer; question, answer
    MMLU, ARC, HellaSwag                question, choices, answer, answerKey; ctx, endings, label
    MNLI, QQP, PAWS                     premise, hypothesis, label; sentence1, sentence2
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import Enum


class Role(Enum):
    """What a column holds.

    Attributes:
        PROMPT: what the user asks for.
        INPUT: the text that an instruction is about, as in Alpaca.
        CONTEXT: a text that the prompt refers to, as in Dolly and SQuAD.
        ANSWER: what the assistant replies.
        REASONING: the reasoning before the answer.
        SYSTEM: the system prompt.
        HISTORY: earlier questions and answers.
        TURNS: a conversation.
        TOOLS: the tools that a row offers.
        CHOSEN: the better answer of a preference pair.
        REJECTED: the worse answer of a preference pair, which must not be trained.
        LABEL: a class, or whether the answer is good (KTO).
        MARK: whether the row, or which part of it, is trained.
        CHOICES: the choices of a multiple-choice question, or the right one's key.
        PAIR: one of two texts that are compared or translated.
        METADATA: facts about the row, which are no text to train.
    """

    PROMPT = "prompt"
    INPUT = "input"
    CONTEXT = "context"
    ANSWER = "answer"
    REASONING = "reasoning"
    SYSTEM = "system"
    HISTORY = "history"
    TURNS = "turns"
    TOOLS = "tools"
    CHOSEN = "chosen"
    REJECTED = "rejected"
    LABEL = "label"
    MARK = "mark"
    CHOICES = "choices"
    PAIR = "pair"
    METADATA = "metadata"

    @property
    def decides_text(self) -> bool:
        """Does a filled cell decide what is trained, so that a row must not lose it in silence?"""
        return self is not Role.METADATA


NAMES: dict[Role, tuple[str, ...]] = {
    Role.PROMPT: (
        *("question", "prompt", "instruction", "problem", "query", "user", "human", "q"),
        *("user_prompt", "user_query", "user_input", "user_message", "question_text"),
        *("prompts", "queries", "questions", "instructions", "inputs"),
    ),
    Role.INPUT: ("input",),
    Role.CONTEXT: (
        *("context", "contexts", "passage", "passages", "document", "documents", "article"),
        *("paragraph", "knowledge", "evidence", "ctx"),
    ),
    Role.ANSWER: (
        *("response", "answer", "output", "completion", "solution", "target", "reply"),
        *("responses", "answers", "outputs", "completions", "solutions", "targets", "replies"),
        *("answer_text", "response_text", "final_answer", "expected_output"),
        *("reference_answer", "correct_answer", "correct_answers", "best_answer"),
        *("assistant", "gpt", "assistant_response", "model_response", "a"),
    ),
    Role.REASONING: (
        *("reasoning_content", "reasoning", "thinking", "thought", "thoughts", "cot"),
        *("complex_cot", "chain_of_thought", "rationale"),
    ),
    Role.SYSTEM: ("system", "system_prompt", "system_message", "system_instruction"),
    Role.HISTORY: ("history",),
    Role.TURNS: (
        *("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
    ),
    Role.TOOLS: ("tools", "functions"),
    Role.CHOSEN: ("chosen", "chosen_response", "accepted", "preferred"),
    Role.REJECTED: (
        *("rejected", "rejected_response", "rejected_responses", "rejected_messages"),
        *("dispreferred", "non_preferred"),
    ),
    Role.LABEL: ("label", "labels", "kto_tag"),
    Role.MARK: (
        *("weight", "sample_weight", "loss_weight", "loss_mask", "loss", "train", "trainable"),
    ),
    Role.CHOICES: (
        *("choices", "options", "endings", "distractors", "b", "c", "d", "e"),
        *("option_a", "option_b", "option_c", "option_d", "opa", "opb", "opc", "opd"),
        *("choice_a", "choice_b", "choice_c", "choice_d", "answer_key", "answer_index"),
        *("answer_idx", "correct_option", "correct_choice", "cop", "mc1_targets", "mc2_targets"),
        *("incorrect_answers", "wrong_answers", "distractor1", "distractor2", "distractor3"),
    ),
    Role.PAIR: (
        *("premise", "hypothesis", "sentence1", "sentence2", "text1", "text2", "text_a", "text_b"),
        *("question1", "question2", "sentence_a", "sentence_b", "translation"),
        *("anchor", "positive", "negative"),
    ),
    Role.METADATA: (
        *("id", "ids", "uid", "uuid", "guid", "idx", "index", "row_id", "prompt_id", "user_id"),
        *("question_id", "conversation_id", "message_id", "parent_id", "example_id"),
        *("source", "sources", "origin", "dataset", "dataset_name", "data_source", "subset"),
        *("split", "config", "title", "name", "author", "license", "version", "revision"),
        *("category", "categories", "type", "kind", "task", "task_name", "task_type", "topic"),
        *("topics", "subject", "domain", "subdomain", "tag", "tags", "keywords"),
        *("difficulty", "level", "grade", "url", "urls", "uri", "link", "links"),
        *("path", "file", "filename", "image", "images", "audio", "audios", "video", "videos"),
        *("score", "scores", "rating", "ratings", "rank", "quality", "votes", "margin"),
        *("score_chosen", "score_rejected", "lang", "language", "locale", "country"),
        *("date", "time", "timestamp", "created", "created_at", "updated_at", "year"),
        *("model", "model_name", "generator", "annotator", "worker_id", "meta", "metadata"),
        *("hash", "sha256", "md5", "length", "num_tokens", "token_count", "word_count"),
        *("num_turns", "channel", "embedding", "input_ids", "attention_mask"),
    ),
}
"""Role -> names; of a role with one column, the first name has precedence in a flag."""

_SIGNS = re.compile(r"[-_\s]+")


def fold_name(name: str) -> str:
    """A name as the rules compare it: ``System-Prompt`` and ``systemPrompt`` become one."""
    return _SIGNS.sub("", name.casefold())


_ROLES = {fold_name(name): role for role, names in NAMES.items() for name in names}


def known_role(name: str) -> Role | None:
    """The role of a column by its name; None for a name that the table does not have."""
    return _ROLES.get(fold_name(name))


def first_named(role: Role, names: Iterable[str]) -> str | None:
    """The name of a role, by the precedence of the table; None where none of ``names`` has it."""
    folded = {fold_name(name): name for name in names}
    return next((folded[n] for n in map(fold_name, NAMES[role]) if n in folded), None)


def spellings(names: Iterable[str], columns: Collection[str]) -> list[str]:
    """Names of the table, each as it stands and as a source with these columns would spell it.

    A source that has ``Instruction`` may spell ``system_prompt`` as ``System_Prompt``,
    ``SystemPrompt`` or, if it has a name with a space, ``System Prompt``.
    """
    parts = [name.split("_") for name in names]
    signs = ["_", *(sign for sign in "- " if any(sign in name for name in columns))]
    made = [sign.join(words) for sign in signs for words in parts]
    if any(name[:1].isupper() for name in columns):
        made += [sign.join(map(str.title, words)) for sign in [*signs, ""] for words in parts]
    if any(map(str.isupper, columns)):
        made += [sign.join(map(str.upper, words)) for sign in signs for words in parts]
    if any(_CAMEL.search(name) for name in columns):
        made += [words[0] + "".join(map(str.title, words[1:])) for words in parts]
    return made


_CAMEL = re.compile("[a-z][A-Z]")
