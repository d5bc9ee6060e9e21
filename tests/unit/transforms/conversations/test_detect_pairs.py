"""The field rule: names before position, one reading or none, and what a refusal says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.conversations.column_parts import ColumnPart, refuse_lists
from transforms.conversations.column_roles import NAMES, Role, fold_name
from transforms.conversations.detect_pairs import GUESS, detect
from transforms.conversations.field_mapping import FieldChoice, FieldMapping
from transforms.conversations.fields_flag import parse
from transforms.conversations.pair_mapping import PairMapping
from transforms.errors import UsageError
from transforms.formats.json_parsing import columns_of

ASKS = ["How many trees grow here?", "What is the sum of both?", "Name a river in Peru."]
SAYS = ["There are nine of them.", "The sum is twelve.", "The Marañón is one."]
ALPACA = ("instruction", "input")
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def rows(**cells: object) -> list[dict[str, Any]]:
    """Three sample rows; a cell stands in every row, and ``ASKS`` or ``SAYS`` fill a column."""
    fill = {id(ASKS), id(SAYS)}
    return [{k: c[n] if id(c) in fill else c for k, c in cells.items()} for n in range(3)]  # type: ignore[index]


def choice(sample: list[dict[str, Any]], several: str | None = None) -> FieldChoice:
    return detect(columns_of(sample), sample, list_answers=several)


def chosen(**cells: object) -> FieldMapping:
    return choice(rows(**cells)).mapping


def text(*names: str) -> PairMapping:
    """What is chosen of columns of text with these names."""
    mapping = chosen(**dict.fromkeys(names, ASKS))
    assert isinstance(mapping, PairMapping)
    return mapping


def refused(sample: list[dict[str, Any]]) -> str:
    with pytest.raises(UsageError) as caught:
        choice(sample)
    assert caught.value.exit_code == 2
    return str(caught.value)


def flags_of(message: str) -> list[str]:
    """The values of ``--fields`` that a message names."""
    return re.findall(r"--fields ([^\s;]+)", message)


def taken(message: str, sample: list[dict[str, Any]]) -> list[FieldMapping]:
    """The mappings of the flags that a message names; each must be one that works."""
    return [parse(flag, columns_of(sample), sample) for flag in flags_of(message)]


@pytest.mark.parametrize(
    "answer",
    ["response", "answer", "output", "completion", "solution", "chosen", "target", "reply"],
)
@pytest.mark.parametrize("prompt", ["question", "prompt", "query", "instruction", "problem"])
class TestOnePromptAndOneAnswer:
    def test_are_found_in_any_order_among_others(self, prompt: str, answer: str) -> None:
        assert text("remark", answer, "topic", prompt) == PairMapping((prompt,), (answer,))

    def test_whatever_their_case_and_their_cells(self, prompt: str, answer: str) -> None:
        names = (prompt.upper(), answer.title())
        for cell in ("positive", 7, 1.5, True):
            mapping = chosen(**{names[1]: cell, names[0]: ASKS, "source_note": SAYS})
            assert mapping == PairMapping((names[0],), (names[1],))

    def test_the_rule_is_told(self, prompt: str, answer: str) -> None:
        found = choice(rows(**{"remark": SAYS, prompt: ASKS, answer: SAYS}))
        assert found.rule == f"columns {prompt}+{answer}"
        assert (found.unused_text, found.guess) == (("remark",), False)


def test_question_and_reasoning_are_the_guide_s_pair() -> None:
    assert text("answer", "reasoning", "question") == PairMapping(("question",), ("reasoning",))
    found = choice(rows(Question=ASKS, Reasoning=SAYS))
    assert found.mapping == PairMapping(("Question",), ("Reasoning",))
    assert found.rule == "columns question+reasoning"


class TestAlpaca:
    MAPPING = PairMapping(ALPACA, ("output",), instruction_separator="\n", required=ALPACA)

    def test_the_input_is_joined_with_a_line_break_and_either_is_a_prompt(self) -> None:
        assert text("output", "input", "instruction") == self.MAPPING

    def test_the_input_may_be_blank_in_the_whole_sample(self) -> None:
        # It may be filled in a row after the sample, and must not be lost then.
        assert chosen(instruction=ASKS, input=" ", output=SAYS) == self.MAPPING

    def test_the_instruction_may_be_blank_in_the_whole_sample(self) -> None:
        assert chosen(instruction="", input=ASKS, output=SAYS) == self.MAPPING

    def test_without_an_input_there_is_no_join(self) -> None:
        assert text("instruction", "output") == PairMapping(("instruction",), ("output",))

    def test_without_an_instruction_the_input_is_the_prompt(self) -> None:
        assert text("input", "output") == PairMapping(("input",), ("output",))

    def test_the_response_may_have_another_name(self) -> None:
        found = choice(rows(input=ASKS, response=SAYS, instruction=ASKS))
        assert found.mapping.columns == ("instruction", "input", "response")
        assert found.rule == "columns instruction(+input)+response"

    def test_the_whole_text_may_stand_beside_it(self) -> None:
        found = choice(rows(instruction=ASKS, input="", output=SAYS, prompt=ASKS))
        assert (found.mapping, found.unused_text) == (self.MAPPING, ("prompt",))

    def test_an_input_beside_another_prompt_is_refused(self) -> None:
        sample = rows(question=ASKS, input=SAYS, answer=SAYS)
        message = refused(sample)
        assert "question and input could each be the prompt" in message
        assert [m.columns for m in taken(message, sample)] == [
            ("question", "input", "answer"),
            ("question", "answer"),
            ("input", "answer"),
        ]


class TestContext:
    def test_it_follows_an_instruction(self) -> None:
        mapping = chosen(context=SAYS, response=SAYS, instruction=ASKS, category="closed_qa")
        assert mapping == PairMapping(("instruction", "context"), ("response",))

    def test_it_stands_before_a_question_which_is_required(self) -> None:
        mapping = chosen(answer=SAYS, question=ASKS, context=SAYS)
        assert mapping == PairMapping(("context", "question"), ("answer",), required=("question",))

    def test_a_passage_is_a_context_and_a_boolean_an_answer(self) -> None:
        mapping = chosen(question=ASKS, passage=SAYS, answer=True)
        assert mapping.columns == ("passage", "question", "answer")

    def test_the_flag_says_the_same(self) -> None:
        sample = rows(question=ASKS, context=SAYS, answer=SAYS)
        mapping = choice(sample).mapping
        assert parse(mapping.flag, columns_of(sample), sample) == mapping

    def test_a_list_of_texts_is_joined(self) -> None:
        mapping = chosen(question=ASKS, contexts=["One.", "Two."], answer=SAYS)
        assert isinstance(mapping, PairMapping)
        assert mapping.parts == (ColumnPart("contexts", "contexts", None, "join"),)

    def test_two_contexts_are_refused(self) -> None:
        sample = rows(question=ASKS, context=SAYS, passage=SAYS, answer=SAYS)
        message = refused(sample)
        assert "2 columns could be the context: context, passage" in message
        assert [m.columns[0] for m in taken(message, sample)] == ["context", "passage"]

    def test_objects_are_refused_with_the_flag_that_leaves_them_out(self) -> None:
        sample = rows(question=ASKS, context={"title": "t"}, answer=SAYS)
        message = refused(sample)
        assert "context is named as the context, but is a struct" in message
        assert taken(message, sample) == [PairMapping(("question",), ("answer",))]

    def test_an_input_and_a_context_are_refused_with_the_flag_that_joins_them(self) -> None:
        sample = rows(instruction=ASKS, input=SAYS, context=SAYS, output=SAYS)
        (mapping,) = taken(refused(sample), sample)
        assert mapping.columns == ("instruction", "input", "context", "output")


class TestSideColumns:
    def test_system_and_history_of_ms_swift(self) -> None:
        for history in ([], [["Hi", "Hello"]]):
            mapping = chosen(system=SAYS, query=ASKS, response=SAYS, history=history)
            assert mapping == PairMapping(
                ("query",), ("response",), system="system", history="history"
            )

    def test_a_system_prompt_that_varies_is_no_prompt(self) -> None:
        mapping = chosen(**{"System Prompt": ASKS, "query": SAYS, "response": SAYS})
        assert mapping == PairMapping(("query",), ("response",), system="System Prompt")

    def test_what_is_blank_in_the_sample_is_used_all_the_same(self) -> None:
        mapping = chosen(question=ASKS, answer=SAYS, system="", context=None, rationale=" ")
        assert mapping.columns == ("context", "question", "answer", "rationale", "system")

    def test_two_system_prompts_are_refused(self) -> None:
        sample = rows(question=ASKS, answer=SAYS, system=SAYS, system_prompt=SAYS)
        message = refused(sample)
        assert "2 columns could be the system: system, system_prompt" in message
        assert [m.columns[-1] for m in taken(message, sample)] == ["system", "system_prompt"]

    def test_tools_are_refused_with_the_flag_that_leaves_them_out(self) -> None:
        sample = rows(query=ASKS, answers=SAYS, tools='[{"name": "f"}]')
        message = refused(sample)
        assert "tools offers tools" in message
        assert taken(message, sample) == [PairMapping(("query",), ("answers",))]

    @pytest.mark.parametrize("none", ["[]", [], None, "null"])
    def test_no_tools_are_no_reason(self, none: object) -> None:
        assert chosen(query=ASKS, answers=SAYS, tools=none) == PairMapping(("query",), ("answers",))


class TestSeveralPromptsOrAnswers:
    def test_two_answers_are_refused_with_both_readings(self) -> None:
        sample = rows(question=ASKS, response=SAYS, answer=SAYS, context=SAYS)
        message = refused(sample)
        assert "2 columns could be the answer: response, answer" in message
        assert flags_of(message) == [
            "instruction=context+question,response=response",
            "instruction=context+question,response=answer",
        ]
        assert all(taken(message, sample))

    def test_two_prompts_are_refused_with_both_readings(self) -> None:
        message = refused(rows(prompt=ASKS, question=ASKS, answer=SAYS))
        assert "2 columns could be the prompt: question, prompt" in message
        assert flags_of(message) == [
            "instruction=question,response=answer",
            "instruction=prompt,response=answer",
        ]

    def test_two_spellings_of_one_name_are_two_columns(self) -> None:
        assert "2 columns could be the prompt" in refused(
            rows(Question=ASKS, question=ASKS, answer=SAYS)
        )

    def test_a_blank_column_is_none_of_them(self) -> None:
        mapping = chosen(question=ASKS, answer=SAYS, response="")
        assert mapping == PairMapping(("question",), ("answer",))

    def test_a_solution_has_its_answer_in_itself(self) -> None:
        found = choice(rows(problem=ASKS, solution=SAYS, answer=SAYS))
        assert found.mapping == PairMapping(("problem",), ("solution",))
        assert found.unused_text == ("answer",)

    def test_a_user_s_name_is_no_prompt_beside_one(self) -> None:
        assert text("user", "question", "answer") == PairMapping(("question",), ("answer",))
        assert text("user", "assistant") == PairMapping(("user",), ("assistant",))


class TestAnswersInLists:
    def test_squad(self) -> None:
        answers = {"text": ["by the river"], "answer_start": [3]}
        mapping = chosen(id="4", title="Old bridges here", context=SAYS, question=ASKS,
                         answers=answers)  # fmt: skip
        assert mapping == PairMapping(
            ("context", "question"),
            ("answers.text",),
            required=("question",),
            parts=(ColumnPart("answers.text", "answers", "text"),),
        )
        assert mapping.flag == "instruction=context+question,response=answers.text"

    @pytest.mark.parametrize("name", ["answer", "answers", "output"])
    def test_a_list_of_one_is_taken(self, name: str) -> None:
        sample = rows(question=ASKS, **{name: ["It is nine."]})
        mapping = choice(sample).mapping
        assert mapping.opened == (ColumnPart(name, name),)
        refuse_lists(mapping.opened, sample)

    def test_equal_answers_are_one(self) -> None:
        sample = rows(question=ASKS, answers={"text": ["nine", "nine", "nine"]})
        refuse_lists(choice(sample).mapping.opened, sample)

    @pytest.mark.parametrize("cell", [["nine", "ten"], {"text": ["nine", "ten"]}])
    def test_several_are_refused_with_the_flags(self, cell: object) -> None:
        sample = [*rows(question=ASKS, answers=["nine"]), *rows(question=ASKS, answers=cell)]
        sample = sample[3:] if isinstance(cell, dict) else sample
        mapping = choice(sample).mapping
        with pytest.raises(UsageError) as caught:
            refuse_lists(mapping.opened, sample)
        assert "several answers in 3 of the first" in str(caught.value)
        assert "--list-answers first" in str(caught.value)
        assert "--list-answers reject" in str(caught.value)
        refuse_lists(choice(sample, "first").mapping.opened, sample)

    def test_objects_are_refused_with_the_flags_that_take_them(self) -> None:
        sample = rows(instruction=ASKS, input=SAYS, output={"year": 1900, "place": "river"})
        message = refused(sample)
        assert "the answer output holds objects" in message
        assert flags_of(message) == [
            f"instruction=instruction+input,response={name}"
            for name in ("output", "output.place", "output.year")
        ]
        assert all(taken(message, sample))

    def test_lists_of_objects_are_refused(self) -> None:
        assert "answers is named as the answer, but holds lists of objects" in refused(
            rows(question=ASKS, answers=[{"a": 1}])
        )


class TestPreferences:
    @pytest.mark.parametrize(
        ("cells", "flag"),
        [
            (
                {"system": SAYS, "question": ASKS, "chosen": SAYS, "rejected": SAYS},
                "instruction=question,response=chosen,system=system",
            ),
            (
                {"rejected": SAYS, "prompt": ASKS, "chosen": SAYS},
                "instruction=prompt,response=chosen",
            ),
            ({"rejected": TURNS, "chosen": TURNS}, "messages=chosen"),
            (
                {"prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": TURNS[1:]},
                "messages=prompt+chosen",
            ),
            ({"messages": TURNS, "rejected_response": SAYS}, "messages=messages"),
            (
                {"query": ASKS, "response": SAYS, "rejected_response": SAYS},
                "instruction=query,response=response",
            ),
        ],
    )
    def test_are_refused_with_the_flag_that_takes_the_chosen_side(
        self, cells: dict[str, object], flag: str
    ) -> None:
        sample = rows(**cells)
        message = refused(sample)
        assert "must not be trained" in message
        assert flags_of(message) == [flag]
        (mapping,) = taken(message, sample)
        assert not any("rejected" in name for name in mapping.columns)

    def test_a_chosen_answer_alone_is_an_answer(self) -> None:
        assert text("prompt", "chosen") == PairMapping(("prompt",), ("chosen",))

    def test_without_a_prompt_nothing_is_suggested(self) -> None:
        message = refused(rows(chosen=SAYS, rejected=SAYS))
        assert "no prompt beside them" in message
        assert flags_of(message) == []


class TestOtherShapes:
    @pytest.mark.parametrize(
        "cells",
        [
            {"choices": ["a", "b"], "answer": 2},
            {"choices": {"text": ["a"], "label": ["A"]}, "answerKey": "A"},
            {"A": "one", "B": "two", "C": "three", "answer": "B"},
            {"option_a": "one", "option_b": "two", "answer": "option_a"},
        ],
    )
    def test_multiple_choice_is_refused_by_name(self, cells: dict[str, object]) -> None:
        sample = rows(question=ASKS, subject="tools", **cells)
        message = refused(sample)
        assert "multiple-choice questions" in message
        for mapping in taken(message, sample):
            assert mapping.columns == ("question", "answer")

    def test_choices_come_before_the_guide_s_pair_and_after_named_turns(self) -> None:
        cells = {"question": ASKS, "choices": ["a", "b"], "answer": 1}
        assert "multiple-choice" in refused(rows(reasoning=SAYS, **cells))
        assert chosen(messages=TURNS, **cells).columns == ("messages",)

    def test_a_query_with_texts_that_fit_names_these_alone(self) -> None:
        for query in ("query", "anchor"):
            sample = rows(**{"negative": SAYS, query: ASKS, "positive": SAYS})
            assert flags_of(refused(sample)) == [f"instruction={query},response=positive"]

    def test_one_letter_alone_is_no_choice(self) -> None:
        assert text("a", "q") == PairMapping(("q",), ("a",))
        assert text("a", "question", "answer").columns == ("question", "answer")

    @pytest.mark.parametrize(
        ("pair", "flag"),
        [
            (("premise", "hypothesis"), "instruction=premise+hypothesis,response=label"),
            (("sentence1", "sentence2"), "instruction=sentence1+sentence2,response=label"),
        ],
    )
    def test_texts_that_are_compared_are_refused_by_name(
        self, pair: tuple[str, str], flag: str
    ) -> None:
        sample = rows(**{pair[1]: SAYS, pair[0]: ASKS, "label": 2})
        message = refused(sample)
        assert "texts that are compared" in message
        assert flags_of(message) == [flag]
        assert all(taken(message, sample))

    def test_translations_are_refused_with_both_directions(self) -> None:
        sample = rows(translation={"en": "Good day", "de": "Guten Tag"})
        message = refused(sample)
        assert "translation holds translations" in message
        assert [m.roles["prompt"] for m in taken(message, sample)] == [
            ("translation.en",),
            ("translation.de",),
        ]

    def test_a_text_with_a_class_is_refused_with_its_flag(self) -> None:
        sample = rows(text=ASKS, label=1)
        message = refused(sample)
        assert "label is the class of a text" in message
        assert taken(message, sample) == [PairMapping(("text",), ("label",))]


class TestGuess:
    def test_the_first_of_two_asks(self) -> None:
        found = choice(rows(frage=ASKS, antwort=SAYS, id="a1", category="Old and new tools"))
        assert found.mapping == PairMapping(("frage",), ("antwort",))
        assert (found.rule, found.guess) == (GUESS, True)
        assert "--fields" in found.guess_note
        assert "frage" in found.guess_note

    @pytest.mark.parametrize(
        "cells",
        [
            {"antwort": SAYS, "frage": ASKS},
            {"frage": ASKS, "antwort": ASKS},
            {"one": SAYS, "two": SAYS},
            {"frage": ASKS, "antwort": SAYS, "more": SAYS},
            {"frage": ASKS, "title": SAYS},
            {"frage": ASKS, "antwort": SAYS, "context": SAYS},
            {"frage": ASKS, "thinking": SAYS},
            {"frage": ASKS},
            {"frage": ASKS, "antwort": SAYS, "answer": ""},
            {"question": ASKS, "antwort": SAYS, "answer": ""},
        ],
        ids=lambda cells: "+".join(cells),
    )
    def test_everything_else_is_refused(self, cells: dict[str, object]) -> None:
        assert "cannot tell which columns" in refused(rows(**cells))

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_name_gives_a_column_its_place(self, reverse: bool) -> None:
        for cells, pair in (
            ({"question": SAYS, "antwort": SAYS}, ("question", "antwort")),
            ({"frage": ASKS, "answer": ASKS}, ("frage", "answer")),
        ):
            sample = rows(**dict(reversed(cells.items()) if reverse else cells.items()))
            found = choice(sample)
            assert found.mapping == PairMapping((pair[0],), (pair[1],))
            assert found.guess

    def test_columns_of_no_prose_are_passed_over(self) -> None:
        mapping = chosen(key="a1", when="2024-01-31", frage=ASKS, antwort=SAYS)
        assert mapping == PairMapping(("frage",), ("antwort",))

    def test_two_nameless_columns_are_refused_with_both_readings(self) -> None:
        sample = rows(antwort=SAYS, frage=ASKS)
        assert flags_of(refused(sample)) == [
            "instruction=antwort,response=frage",
            "instruction=frage,response=antwort",
        ]


class TestNothingSuitable:
    def test_the_error_lists_the_columns_and_shows_the_flag(self) -> None:
        message = refused(rows(id="1", score=0.5, note=SAYS))
        assert "found id (string), score (double), note (string)" in message
        assert "--fields instruction=COLUMN,response=COLUMN" in message
        assert "--fields messages=COLUMN" in message

    def test_a_prompt_without_an_answer_is_named(self) -> None:
        message = refused(rows(question=ASKS, one=SAYS, two=SAYS))
        assert "question can be the prompt, but no name says the answer" in message
        assert flags_of(message) == [
            "instruction=question,response=one",
            "instruction=question,response=two",
        ]

    def test_an_answer_that_is_blank_is_named(self) -> None:
        message = refused(rows(question=ASKS, answer="", remark=SAYS, other=SAYS))
        assert "answer is named as the answer, but is blank in the first rows" in message

    def test_columns_of_other_meanings_are_the_last_that_are_suggested(self) -> None:
        sample = rows(source=SAYS, target=SAYS)
        assert flags_of(refused(sample)) == ["instruction=source,response=target"]

    def test_a_prompt_of_lists_is_named(self) -> None:
        assert "question is named as the prompt, but is a list" in refused(
            rows(question=["a"], answer=SAYS)
        )

    def test_no_columns_at_all(self) -> None:
        with pytest.raises(UsageError, match="found no columns"):
            detect([], [])


class TestTurnsBesideAPair:
    def test_a_column_that_is_named_as_turns_comes_first(self) -> None:
        assert chosen(messages=TURNS, question=ASKS, answer=SAYS).columns == ("messages",)

    @pytest.mark.parametrize(
        "pair", [("question", "answer"), ("question", "antwort"), ("frage", "antwort")]
    )
    def test_another_is_refused_with_both_readings(self, pair: tuple[str, str]) -> None:
        sample = rows(talk=TURNS, **{pair[0]: ASKS, pair[1]: SAYS})
        assert [m.columns for m in taken(refused(sample), sample)] == [("talk",), pair]

    def test_another_is_taken_beside_texts_that_are_no_pair(self) -> None:
        assert chosen(talk=TURNS, remark=SAYS, zusatz=SAYS).columns == ("talk",)


def test_the_default_data_set_maps_question_to_answer() -> None:
    sample = rows(
        conversation_id="4711",
        domain="Mathematics and its applications",
        question=ASKS,
        answer=SAYS,
        code="print('x y z')",
        **{"sub-domain": "Algebra of the real numbers"},
    )
    found = choice(sample)
    assert found.mapping == PairMapping(("question",), ("answer",))
    assert found.rule == "columns question+answer"
    assert found.unused_text == ("conversation_id", "domain", "code", "sub-domain")
    assert found.hint == ""


class TestHint:
    @pytest.mark.parametrize("answer", ["answer", "solution", "Answer"])
    def test_an_unused_answer_is_named_with_the_flag_that_joins_it(self, answer: str) -> None:
        sample = rows(**{"question": ASKS, "reasoning": SAYS, answer: SAYS})
        found = choice(sample)
        assert found.mapping == PairMapping(("question",), ("reasoning",))
        flag = f"instruction=question,response=reasoning+{answer}"
        assert f"--fields {flag}" in found.hint
        assert repr(answer) in found.hint
        assert parse(flag, columns_of(sample)) == PairMapping(("question",), ("reasoning", answer))

    @pytest.mark.parametrize("more", [{"note": SAYS}, {"answer": ""}, {}])
    def test_there_is_none_without_an_answer(self, more: dict[str, object]) -> None:
        assert choice(rows(question=ASKS, reasoning=SAYS, **more)).hint == ""


def test_columns_are_read_once_each_instruction_first() -> None:
    assert PairMapping(("a", "b"), ("b", "c", "a")).columns == ("a", "b", "c")


PUBLIC = {
    "alpaca": ({"instruction": ASKS, "input": "", "output": SAYS, "text": SAYS},
               "instruction=instruction+input,response=output"),
    "dolly": ({"instruction": ASKS, "context": "", "response": SAYS, "category": "open_qa"},
              "instruction=instruction+context,response=response"),
    "OpenOrca": ({"id": "a1", "system_prompt": SAYS, "question": ASKS, "response": SAYS},
                 "instruction=question,response=response,system=system_prompt"),
    "OASST in axolotl": ({"INSTRUCTION": ASKS, "RESPONSE": SAYS},
                         "instruction=INSTRUCTION,response=RESPONSE"),
    "GPTeacher": ({"instruction": ASKS, "input": SAYS, "response": SAYS},
                  "instruction=instruction+input,response=response"),
    "GSM8K": ({"question": ASKS, "answer": SAYS}, "instruction=question,response=answer"),
    "MetaMathQA": ({"type": "GSM_Rephrased one", "query": ASKS, "original_question": ASKS,
                    "response": SAYS}, "instruction=query,response=response"),
    "NuminaMath": ({"source": "olympiads", "problem": ASKS, "solution": SAYS, "answer": "12",
                    "problem_type": "Algebra", "question_type": "math-word-problem"},
                   "instruction=problem,response=solution"),
    "NuminaMath-CoT": ({"source": "a b c", "problem": ASKS, "solution": SAYS, "messages": TURNS},
                       "messages=messages"),
    "medical-o1": ({"Question": ASKS, "Complex_CoT": SAYS, "Response": SAYS},
                   "instruction=Question,response=Response,reasoning=Complex_CoT"),
    "SQuAD": ({"id": "5", "title": "T", "context": SAYS, "question": ASKS,
               "answers": {"text": ["a"], "answer_start": [1]}},
              "instruction=context+question,response=answers.text"),
    "BoolQ": ({"question": ASKS, "answer": True, "passage": SAYS},
              "instruction=passage+question,response=answer"),
    "SQL create context": ({"answer": SAYS, "question": ASKS, "context": SAYS},
                           "instruction=context+question,response=answer"),
    "FLAN": ({"inputs": ASKS, "targets": SAYS, "task": "cot"},
             "instruction=inputs,response=targets"),
    "jeopardy in axolotl": ({"question": ASKS, "category": "Old tools and toys", "answer": SAYS},
                            "instruction=question,response=answer"),
    "ms-swift": ({"system": SAYS, "query": ASKS, "response": SAYS, "history": [["a", "b"]]},
                 "instruction=query,response=response,system=system,history=history"),
    "LLaMA-Factory": ({"instruction": ASKS, "input": "", "output": SAYS, "system": "",
                       "history": []},
                      "instruction=instruction+input,response=output,system=system,history=history"),
    "no_robots": ({"prompt": ASKS, "prompt_id": "a1", "messages": TURNS, "category": "Open QA"},
                  "messages=messages"),
    "HelpSteer": ({"prompt": ASKS, "response": SAYS, "helpfulness": 3, "verbosity": 1},
                  "instruction=prompt,response=response"),
    "code_instructions": ({"instruction": ASKS, "input": "", "output": SAYS, "prompt": SAYS},
                          "instruction=instruction+input,response=output"),
}  # fmt: skip
"""Columns of public sets, and of the shapes in trainers' documentation."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_sets_are_read_as_they_are_meant(name: str) -> None:
    cells, flag = PUBLIC[name]
    found = choice(rows(**cells))
    assert found.mapping.flag == flag
    assert not found.guess


REFUSED = {
    "UltraFeedback": ({"prompt": ASKS, "chosen": TURNS, "rejected": TURNS, "messages": TURNS,
                       "score_chosen": 1.0}, ["messages=chosen"]),
    "xlam": ({"id": 1, "query": ASKS, "answers": SAYS, "tools": SAYS},
             ["instruction=query,response=answers"]),
    "natural_reasoning": ({"question": ASKS, "reference_answer": SAYS,
                           "responses": [{"response": "a", "response_model": "b"}]},
                          ["instruction=question,response=responses",
                           "instruction=question,response=reference_answer"]),
    "HotpotQA": ({"question": ASKS, "answer": SAYS, "context": {"title": ["a"]}, "level": "hard"},
                 ["instruction=question,response=answer"]),
    "TriviaQA": ({"question": ASKS, "answer": {"aliases": ["a"], "value": "a"}},
                 ["instruction=question,response=answer",
                  "instruction=question,response=answer.value",
                  "instruction=question,response=answer.aliases"]),
    "SciQ": ({"question": ASKS, "distractor1": SAYS, "distractor2": SAYS, "correct_answer": SAYS},
             ["instruction=question,response=correct_answer"]),
    "counseling": ({"Context": ASKS, "Response": SAYS}, ["instruction=Context,response=Response"]),
    "summaries": ({"article": SAYS, "highlights": SAYS, "id": "1"},
                  ["instruction=article,response=highlights",
                   "instruction=highlights,response=article"]),
    "QQP": ({"question1": ASKS, "question2": ASKS, "label": 0},
            ["instruction=question1+question2,response=label"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_public_sets_of_other_shapes_are_refused_with_the_readings(name: str) -> None:
    cells, flags = REFUSED[name]
    assert flags_of(refused(rows(**cells))) == flags


# ---- properties

KNOWN = st.sampled_from([name for role in Role for name in NAMES[role]])
UNKNOWN = st.sampled_from(["frage", "remark", "zusatz", "foo", "bar-baz"])
CELL = st.sampled_from(["What is it?", "It is so.", "", 7, True, None, ["one"], TURNS])
ROW = st.dictionaries(KNOWN | UNKNOWN, CELL, min_size=1, max_size=6)


def reading(row: dict[str, Any], order: list[str]) -> FieldChoice | None:
    """What is chosen of columns in an order; None for a refusal."""
    columns = {column.name: column for column in columns_of([row])}
    try:
        return detect([columns[name] for name in order], [row] * 3)
    except UsageError:
        return None


@given(row=ROW, data=st.data())
def test_the_order_of_the_columns_never_changes_the_mapping(
    row: dict[str, Any], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(list(row)))
    before, after = reading(row, list(row)), reading(row, order)
    if (before and before.guess) or (after and after.guess):
        # The place of two nameless columns says which is the prompt: the other order is refused.
        assert before is None or after is None or before.mapping == after.mapping
        return
    assert (before and before.mapping) == (after and after.mapping)


@given(row=ROW, name=UNKNOWN, cell=CELL, at=st.integers(0, 6))
def test_a_column_that_no_table_knows_never_changes_the_mapping(
    row: dict[str, Any], name: str, cell: object, at: int
) -> None:
    if any(fold_name(name) == fold_name(other) for other in row):
        return
    before = reading(row, list(row))
    order = [*list(row)[:at], name, *list(row)[at:]]
    after = reading({**row, name: cell}, order)
    if before is not None and after is not None:
        assert after.mapping == before.mapping


SIDES = {
    "system": "Be brief.",
    "context": "The report says so.",
    "history": [["Hi", "Hello"]],
    "rationale": "Since it is so.",
}


@given(
    names=st.sets(st.sampled_from(list(SIDES))),
    blank=st.sets(st.sampled_from(list(SIDES))),
    void=st.sampled_from(["", None]),
)
def test_what_is_filled_in_later_rows_alone_has_the_role_that_it_has_in_the_sample(
    names: set[str], blank: set[str], void: str | None
) -> None:
    pair = {"question": "Why?", "answer": "So."}
    whole = {**pair, **{name: SIDES[name] for name in SIDES if name in names}}
    empty = {
        name: ([] if name == "history" else void) if name in blank else cell
        for name, cell in whole.items()
    }
    before, after = reading(whole, list(whole)), reading(empty, list(empty))
    assert before is not None and after is not None
    assert after.mapping == before.mapping
