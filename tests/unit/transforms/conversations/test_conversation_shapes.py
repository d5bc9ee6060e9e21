"""Conversations in the shapes that users bring: read in their own meaning, or refused by name.

``convert`` plans a file and converts its rows, as a job does.  A set is right when its texts are
those of the same conversations written as OpenAI's messages.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import has, lines, put, turns
from conversions import Convert, Converted
from hypothesis import given
from hypothesis import strategies as st
from source_files import parquet

from transforms.conversations.cells import InvalidConversation
from transforms.conversations.conversation_shapes import SHAPES, find_shape, to_turns
from transforms.conversations.detect_turns import detect_turns
from transforms.conversations.python_literals import MAX_CHARS, MAX_DEPTH, NotLiteral, literal
from transforms.conversations.transcripts import TRANSCRIPTS, find_form, turns_of_text
from transforms.records import Column

ROWS = 24


def ask(i: int) -> str:
    return f"How would you mend the kettle number {i} before winter?"


def answer(i: int) -> str:
    return f"Start with step {i}: look at it slowly, and write down what you saw."


def system(i: int) -> str:
    return ["You answer as a careful engineer.", "Reply in a formal tone."][i % 2]


def texts(done: Converted) -> list[str]:
    assert done.reasons == {}, done.rejects[:3]
    return done.texts()


@pytest.fixture
def expected(convert: Convert, tmp_path: Path) -> Callable[..., list[str]]:
    """The texts of conversations that are written as OpenAI's messages."""

    def make(conversations: list[list[dict[str, Any]]], *words: str) -> list[str]:
        rows = [{"messages": messages} for messages in conversations]
        return texts(convert("--dataset", lines(tmp_path / "plain.jsonl", *rows), *words))

    return make


Expected = Callable[..., list[str]]


class TestExchanges:
    @pytest.mark.parametrize(
        ("user", "assistant"), [("human", "assistant"), ("input", "output"), ("user", "gpt")]
    )
    @pytest.mark.parametrize("form", ["list", "JSON text"])
    def test_an_object_with_both_texts_is_two_turns(
        self,
        convert: Convert,
        expected: Expected,
        tmp_path: Path,
        user: str,
        assistant: str,
        form: str,
    ) -> None:
        cells = [[{user: ask(n), assistant: answer(n)} for n in (i, i + 100)] for i in range(ROWS)]
        made: list[Any] = [json.dumps(cell) if form == "JSON text" else cell for cell in cells]
        rows = [{"system": system(i), "conversation": cell} for i, cell in enumerate(made)]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert texts(done) == expected(
            [
                turns(ask(i), answer(i), ask(i + 100), answer(i + 100), system=system(i))
                for i in range(ROWS)
            ]
        )
        assert "objects with the texts of user and assistant" in done.plan.fields.rule

    def test_of_parquet_too(self, convert: Convert, expected: Expected, tmp_path: Path) -> None:
        rows = [{"conversation": [{"human": ask(i), "assistant": answer(i)}]} for i in range(ROWS)]
        path = parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows))
        assert texts(convert("--dataset", path)) == expected(
            [turns(ask(i), answer(i)) for i in range(ROWS)]
        )

    def test_a_system_prompt_may_stand_in_the_first(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        rows = [
            {
                "conversation": [
                    {"system": system(i), "input": ask(i), "output": answer(i)},
                    {"system": "", "input": ask(i + 1), "output": answer(i + 1)},
                ]
            }
            for i in range(ROWS)
        ]
        assert texts(convert("--dataset", lines(tmp_path / "a.jsonl", *rows))) == expected(
            [
                turns(ask(i), answer(i), ask(i + 1), answer(i + 1), system=system(i))
                for i in range(ROWS)
            ]
        )

    def test_a_row_in_another_shape_is_rejected(self, convert: Convert, tmp_path: Path) -> None:
        rows: list[Any] = [{"conversation": [{"human": ask(0), "assistant": answer(0)}]}] * 3
        rows += [{"conversation": [{"human": ask(1), "user": ask(2)}]}, {"conversation": [1]}]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), "--dedup", "off")
        assert done.reasons == {"not-a-conversation": 2}


class TestAlternatingTexts:
    def test_ultrachat_s_data_begins_with_the_user(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        rows = [
            {"id": str(i), "data": [ask(i), answer(i), ask(i + 50), answer(i + 50)]}
            for i in range(ROWS)
        ]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert texts(done) == expected(
            [turns(ask(i), answer(i), ask(i + 50), answer(i + 50)) for i in range(ROWS)]
        )
        assert done.plan.fields.rule == ("column data holds texts that alternate, the user's first")

    def test_other_lists_of_texts_need_the_flag_that_the_refusal_names(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        # The turns of MT-Bench are questions alone.
        path = lines(tmp_path / "a.jsonl", *({"turns": [ask(i), answer(i)]} for i in range(ROWS)))
        refused = convert("--dataset", path)
        assert refused.code == 2
        assert has(refused.err, "'turns' holds lists of texts without roles")
        flag = refused.err.rpartition("say so: ")[2].split()
        assert texts(convert("--dataset", path, *flag)) == expected(
            [turns(ask(i), answer(i)) for i in range(ROWS)]
        )

    def test_a_question_without_an_answer_is_rejected(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        rows = [{"data": [ask(i), answer(i), *([ask(99)] if i == 4 else [])]} for i in range(ROWS)]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert done.rejects == [("a.jsonl", 5, "ends-with-user")]


class TestTranscripts:
    FORMS = {
        "### Human:": lambda q, a: f"### Human: {q}### Assistant: {a}",
        "lines": lambda q, a: f"### Human:\n{q}\n\n### Assistant:\n{a}\n",
        "Human:": lambda q, a: f"\n\nHuman: {q}\n\nAssistant: {a}",
        "USER:": lambda q, a: f"USER: {q}\n\n\nASSISTANT: {a} <|endoftext|>\n\n\n",
        "[INST]": lambda q, a: f"<s>[INST] {q} [/INST] {a} </s>",
    }

    @pytest.mark.parametrize("form", list(FORMS))
    @pytest.mark.parametrize("name", ["text", "chat"])
    def test_a_text_is_parsed_by_its_markers(
        self, convert: Convert, expected: Expected, tmp_path: Path, form: str, name: str
    ) -> None:
        write = self.FORMS[form]
        rows = [
            {name: write(ask(i), answer(i)) + (write("Thanks!", "Bye.") if i % 2 else "")}
            for i in range(ROWS)
        ]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        said = [[ask(i), answer(i), *(["Thanks!", "Bye."] if i % 2 else [])] for i in range(ROWS)]
        assert texts(done) == expected([turns(*one) for one in said])
        assert "transcripts with the marker" in done.plan.fields.rule

    def test_llama_s_system_prompt(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        rows = [
            {
                "text": f"<s>[INST] <<SYS>>\n{system(i)}\n<</SYS>>\n\n{ask(i)} [/INST] "
                f"{answer(i)} </s>"
            }
            for i in range(ROWS)
        ]
        assert texts(convert("--dataset", lines(tmp_path / "a.jsonl", *rows))) == expected(
            [turns(ask(i), answer(i), system=system(i)) for i in range(ROWS)]
        )

    def test_tokens_inside_of_a_turn_are_its_own(self) -> None:
        text = (
            "<s>[INST] Is <s>this</s> struck? [/INST] Yes, <s>it</s> is.</s>"
            "<s>[INST] So? [/INST] So.</s>"
        )
        assert [turn["content"] for turn in turns_of_text(text, "[INST]")] == [
            "Is <s>this</s> struck?", "Yes, <s>it</s> is.", "So?", "So.",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "text",
        [
            "[INST] <<SYS>>" + " " * 200_000 + "x",
            "[INST] " * 100_000,
            "\n\nHuman:" * 100_000,
            'USER: a\n\nASSISTANT: <functioncall> {"name": "a", "arguments": \'' + "' " * 100_000,
        ],
    )
    def test_a_hostile_text_takes_linear_time(self, text: str) -> None:
        started = time.process_time()
        find_form(text)
        assert time.process_time() - started < 5

    @pytest.mark.parametrize(
        ("written", "arguments"),
        [
            ('\'{"item": "it\'s"}\'', '{"item": "it\'s"}'),
            ('{"item": "it\'s"}', {"item": "it's"}),
        ],
    )
    def test_glaive_s_calls_and_results_are_turns_of_their_own(
        self, written: str, arguments: object
    ) -> None:
        text = (
            'USER: What?\n\n\nASSISTANT: I look. <functioncall> {"name": "stock", "arguments": '
            f'{written}}} <|endoftext|>\n\n\nFUNCTION RESPONSE: {{"count": 1}}\n\n\n'
            "ASSISTANT: One. <|endoftext|>\n\n\n"
        )
        user, asking, result, reply = turns_of_text(text, "USER:")
        calls = json.loads(str(asking.pop("tool_calls")))
        assert calls == [
            {"type": "function", "function": {"name": "stock", "arguments": arguments}}
        ]
        assert [tuple(turn.values()) for turn in (user, asking, result, reply)] == [
            ("user", "What?"),
            ("assistant", "I look."),
            ("tool", '{"count": 1}'),
            ("assistant", "One."),
        ]

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("An introduction. ### Human: What?### Assistant: So.", "bad-transcript"),
            ("No markers at all.", "bad-transcript"),
            ("### Assistant: So.", "starts-with-assistant"),
            ("### Human: What?### Assistant: ", "empty-turn"),
            ("### Human: What?### Assistant: So.### System: none", "bad-transcript"),
            ("### Human: What?### Assistant: So.### User: a name", "bad-transcript"),
            ("### Human: What?", "no-assistant-turn"),
        ],
    )
    def test_a_text_that_is_no_such_transcript_is_rejected(
        self, convert: Convert, tmp_path: Path, text: str, code: str
    ) -> None:
        rows = [{"text": f"### Human: {ask(i)}### Assistant: {answer(i)}"} for i in range(ROWS)]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows, {"text": text}))
        assert done.rejects == [("a.jsonl", ROWS + 1, code)]

    def test_half_a_call_is_rejected(self, convert: Convert, tmp_path: Path) -> None:
        rows = [{"chat": f"USER: {ask(i)}\n\nASSISTANT: {answer(i)}"} for i in range(ROWS)]
        bad = {"chat": f'USER: {ask(0)}\n\nASSISTANT: <functioncall> {{"name": '}
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows, bad))
        assert done.rejects == [("a.jsonl", ROWS + 1, "bad-tool-calls")]

    def test_two_columns_of_transcripts_need_a_flag(self, convert: Convert, tmp_path: Path) -> None:
        text = [f"### Human: {ask(i)}### Assistant: {answer(i)}" for i in range(ROWS)]
        path = lines(tmp_path / "a.jsonl", *({"en": one, "de": one} for one in text))
        refused = convert("--dataset", path)
        assert refused.code == 2
        flag = refused.err.rpartition("Choose one: ")[2].split(" or ")[0].split()
        assert len(texts(convert("--dataset", path, *flag, "--dedup", "off"))) == ROWS

    def test_a_named_question_and_answer_come_first(self, convert: Convert, tmp_path: Path) -> None:
        rows = [
            {
                "instruction": ask(i),
                "output": answer(i),
                "text": f"### Human: {ask(i)}### Assistant: {answer(i)}",
            }
            for i in range(ROWS)
        ]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert done.plan.fields.mapping.columns == ("instruction", "output")

    @given(
        said=st.lists(
            st.text("abc d\n#.[]", min_size=1).filter(lambda text: text.strip()),
            min_size=2,
            max_size=6,
        ).filter(lambda said: len(said) % 2 == 0),
        form=st.sampled_from(["### Human:", "Human:", "USER:", "[INST]"]),
    )
    def test_what_was_written_is_parsed(self, said: list[str], form: str) -> None:
        write = self.FORMS[form]
        text = "".join(write(q, a) for q, a in zip(said[::2], said[1::2], strict=True))
        found = [(turn["role"], turn["content"]) for turn in turns_of_text(text, form)]
        roles = ("user", "assistant")
        assert found == [(roles[n % 2], one.strip()) for n, one in enumerate(said)]
        assert find_form(text) == form

    @given(
        text=st.text(st.sampled_from("#HumanAsit: \n[INST]/<functioncall>SERU{}\"'"), max_size=80)
    )
    def test_any_text_is_parsed_or_rejected(self, text: str) -> None:
        for form in TRANSCRIPTS:
            try:
                found = turns_of_text(text, form)
            except InvalidConversation:
                continue
            assert all(isinstance(turn["content"], str) for turn in found)


@pytest.mark.parametrize(
    ("columns", "marker"),
    [
        ({"text": "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nSo."}, "ChatML"),
        ({"text": "<start_of_turn>user\nWhat?<end_of_turn>"}, "Gemma"),
        (
            {"text": "Below is a task.\n\n### Instruction:\nDo it.\n\n### Response:\nDone."},
            "Alpaca",
        ),
    ],
)
def test_text_that_a_template_has_rendered_is_refused(
    convert: Convert, tmp_path: Path, columns: dict[str, str], marker: str
) -> None:
    refused = convert("--dataset", lines(tmp_path / "a.jsonl", *[columns] * 3))
    assert refused.code == 2
    assert has(refused.err, "has rendered", marker)


@pytest.mark.parametrize(
    "beside",
    [
        {"tags": ["tools", "winter"]},
        {"text": "Below is a task.\n\n### Instruction:\nDo it.\n\n### Response:\nDone."},
    ],
)
def test_lists_of_tags_and_rendered_text_beside_other_columns_refuse_nothing(
    beside: dict[str, Any],
) -> None:
    row = {"title_text": ask(1), "body_text": answer(1), **beside}
    columns = [Column(name, "list" if name == "tags" else "string") for name in row]
    assert detect_turns(columns, [row] * 3) is None


class TestPythonLiterals:
    def csv(self, path: Path, cells: list[str]) -> Path:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "conversations"])
            writer.writerows(enumerate(cells))
        return path

    def test_turns_that_repr_wrote_are_read(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        cells = [
            repr(
                [
                    {"from": "human", "value": f'It\'s "{ask(i)}"\n\tnow\\?'},
                    {"from": "gpt", "value": answer(i), "weight": None},
                ]
            )
            for i in range(ROWS)
        ]
        done = convert("--dataset", self.csv(tmp_path / "a.csv", cells))
        assert texts(done) == expected(
            [turns(f'It\'s "{ask(i)}"\n\tnow\\?', answer(i)) for i in range(ROWS)]
        )

    @pytest.mark.parametrize(
        "bad",
        [
            "[{'from': 'human', 'value': open('x')}]",
            "[{'from': 'human', 'value': 'a'",
            "[{'from': 'human', 'value': {1, 2}}]",
            "[{'from': 'human', 'value': " + "[" * 50 + "]" * 50 + "}]",
            "[{'from': 'human', 'value': '" + "\\'" * 10_000,
            "[{'from': __import__('os').system('touch canary'), 'value': 'a'}]",
        ],
    )
    def test_anything_else_is_rejected_and_never_run(
        self, convert: Convert, tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        good = repr([{"from": "human", "value": "What?"}, {"from": "gpt", "value": "So."}])
        done = convert("--dataset", self.csv(tmp_path / "a.csv", [good, good, bad]))
        assert done.rejects == [("a.csv", 3, "broken-json")]
        assert not Path("canary").exists()

    def test_lists_that_numpy_printed_are_refused_as_such(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        cell = "[{'content': 'What?', 'role': 'user'}\n {'content': 'So.', 'role': 'assistant'}]"
        for flags in ((), ("--fields", "messages=conversations")):
            refused = convert("--dataset", self.csv(tmp_path / "a.csv", [cell] * 3), *flags)
            assert refused.code == 2
            assert has(refused.err, "'conversations'", "NumPy printed", "orient='records'")

    def test_half_a_pair_of_surrogates_is_rejected(self, convert: Convert, tmp_path: Path) -> None:
        good = repr([{"from": "human", "value": "What?"}, {"from": "gpt", "value": "So."}])
        bad = good.replace("What?", "\\ud83d")
        done = convert("--dataset", self.csv(tmp_path / "a.csv", [good, good, bad]))
        assert done.rejects == [("a.csv", 3, "invalid-unicode")]

    def test_a_string_without_an_end_takes_linear_time(self) -> None:
        started = time.process_time()
        with pytest.raises(NotLiteral):
            literal("[{'from': 'human', 'value': '" + "\\'" * 60_000)
        assert time.process_time() - started < 5

    def test_size_and_depth_have_bounds(self) -> None:
        assert literal("[{'a': " + "[" * (MAX_DEPTH - 2) + "]" * (MAX_DEPTH - 2) + "}]")
        for text in (
            "[{'a': " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}]",
            "[{'a': '" + "x" * MAX_CHARS + "'}]",
            "[{'a': 1}] [",
            "['a']",
            "",
        ):
            with pytest.raises(NotLiteral):
                literal(text)
        assert literal("[{'a': '[[[[[[[[[[[[[[[[[[[[[[[[[['}]") == [{"a": "[" * 26}]


class TestListsWithoutObjects:
    def test_a_list_of_conversations(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        made = [
            [{"from": "human", "value": ask(i)}, {"from": "gpt", "value": answer(i)}]
            for i in range(ROWS)
        ]
        done = convert("--dataset", put(tmp_path / "a.json", json.dumps(made, indent=1)))
        assert texts(done) == expected([turns(ask(i), answer(i)) for i in range(ROWS)])

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
    def test_lines_that_are_lists(
        self, convert: Convert, expected: Expected, tmp_path: Path, end: str
    ) -> None:
        made = [turns(ask(i), answer(i)) for i in range(ROWS)]
        text = "".join(json.dumps(one) + end for one in made)
        done = convert("--dataset", put(tmp_path / "a.jsonl", text))
        assert texts(done) == expected(made)
        assert texts(convert("--dataset", put(tmp_path / "b.json", "\ufeff" + text))) == texts(done)

    def test_an_array_of_one_line_is_an_array(self, convert: Convert, tmp_path: Path) -> None:
        rows = [{"messages": turns(ask(i), answer(i))} for i in range(ROWS)]
        for text in (json.dumps(rows), json.dumps(rows) + "\n", json.dumps(rows, indent=1)):
            assert len(texts(convert("--dataset", put(tmp_path / "a.jsonl", text)))) == ROWS
        broken = convert("--dataset", put(tmp_path / "a.jsonl", json.dumps(rows) + "\n5"))
        assert broken.code == 3

    def test_beside_other_elements(self, convert: Convert, tmp_path: Path) -> None:
        made: list[Any] = [turns(ask(i), answer(i)) for i in range(ROWS)]
        made[2:2] = [[], ["a"], 5, {"messages": turns("What?", "So.")}]
        done = convert("--dataset", put(tmp_path / "a.json", json.dumps(made)))
        assert done.reasons == {"not-an-object": 3}
        assert len(done.rows()) == ROWS + 1


TURN = Callable[[str, str], dict[str, Any]]


class TestShapesOfOtherTools:
    def openai(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages as each refusal asks for them."""
        roles = {"human": "user", "ai": "assistant", "model": "assistant"}
        made = []
        for message in messages:
            role = message.get("role") or message["type"]
            content = message.get("content") or message.get("data", {}).get("content")
            if "parts" in message:
                content = "".join(part["text"] for part in message["parts"])
            made.append({"role": roles.get(role, role), "content": content})
        return made

    @pytest.mark.parametrize(
        ("column", "turn", "says"),
        [
            (
                "messages",
                lambda role, text: {"type": role, "data": {"content": text}},
                ("LangChain", "convert_to_openai_messages"),
            ),
            ("messages", lambda role, text: {"type": role, "content": text}, ("LangChain",)),
            (
                "contents",
                lambda role, text: {"role": role, "parts": [{"text": text}]},
                ("Gemini", "texts of its parts joined"),
            ),
        ],
    )
    @pytest.mark.parametrize("form", ["list", "JSON text"])
    def test_are_refused_by_name_with_the_form_that_is_read(
        self,
        convert: Convert,
        expected: Expected,
        tmp_path: Path,
        column: str,
        turn: TURN,
        says: tuple[str, ...],
        form: str,
    ) -> None:
        names = ("user", "model") if column == "contents" else ("human", "ai")
        made = [[turn(names[0], ask(i)), turn(names[1], answer(i))] for i in range(ROWS)]
        rows = [{column: json.dumps(one) if form == "JSON text" else one} for one in made]
        for flags in ((), ("--fields", f"messages={column}")):
            refused = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), *flags)
            assert refused.code == 2
            assert has(refused.err, repr(column), *says, '"role": "user" or "assistant"')
        cured = [self.openai(one) for one in made]
        assert expected(cured) == expected([turns(ask(i), answer(i)) for i in range(ROWS)])

    def test_anthropic_s_blocks_for_tools(self, convert: Convert, tmp_path: Path) -> None:
        used = {"type": "tool_use", "id": "t", "name": "stock", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "t", "content": "5"}
        rows = [
            {
                "messages": [
                    {"role": "user", "content": ask(i)},
                    {"role": "assistant", "content": [{"type": "text", "text": "I look."}, used]},
                    {"role": "user", "content": [result]},
                    {"role": "assistant", "content": [{"type": "text", "text": answer(i)}]},
                ]
            }
            for i in range(ROWS)
        ]
        refused = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert refused.code == 2
        assert has(refused.err, "Anthropic's blocks", "tool_use", '"tool_calls"', '"tool"')

    def test_one_of_many_rows_with_them_is_a_reject(self, convert: Convert, tmp_path: Path) -> None:
        rows: list[Any] = [{"messages": turns(ask(i), answer(i))} for i in range(ROWS)]
        rows.append({"messages": [*turns(ask(1)), {"role": "assistant", "content": [
            {"type": "tool_use", "name": "f", "input": {}}]}]})  # fmt: skip
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert done.rejects == [("a.jsonl", ROWS + 1, "not-text")]

    @pytest.mark.parametrize("kind", ["image_url", "input_audio"])
    def test_media(self, convert: Convert, tmp_path: Path, kind: str) -> None:
        media = [{"type": kind, kind: "data"}, {"type": "text", "text": "What is it?"}]
        row = {"messages": [{"role": "user", "content": media}, *turns("", "A kettle.")[1:]]}
        refused = convert("--dataset", lines(tmp_path / "a.jsonl", row))
        assert refused.code == 2
        assert has(refused.err, "images, sounds or files", "text alone")

    def test_lists_of_text_blocks_are_text(
        self, convert: Convert, expected: Expected, tmp_path: Path
    ) -> None:
        rows = [
            {
                "system": system(i),
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": ask(i)}]},
                    {"role": "assistant", "content": [{"type": "text", "text": answer(i)}]},
                ],
            }
            for i in range(ROWS)
        ]
        assert texts(convert("--dataset", lines(tmp_path / "a.jsonl", *rows))) == expected(
            [turns(ask(i), answer(i), system=system(i)) for i in range(ROWS)]
        )

    def test_a_tree_of_messages(self, convert: Convert, expected: Expected, tmp_path: Path) -> None:
        rows = []
        for i in range(ROWS):
            rows += [
                {"message_id": f"m{i}", "parent_id": None, "text": ask(i), "role": "prompter"},
                {"message_id": f"r{i}", "parent_id": f"m{i}", "text": answer(i),
                 "role": "assistant"},
            ]  # fmt: skip
        refused = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert refused.code == 2
        assert has(refused.err, "message of a tree", "parent_id", '"messages"')
        by_id = {row["message_id"]: row for row in rows}
        answers = [row for row in rows if row["role"] == "assistant"]
        paths = [[by_id[str(row["parent_id"])], row] for row in answers]
        cured = [
            [{"role": turn["role"], "content": turn["text"]} for turn in path] for path in paths
        ]
        assert expected(cured) == expected([turns(ask(i), answer(i)) for i in range(ROWS)])


@given(
    cell=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["human", "assistant", "role", "system"]), inner)
        ),
    )
)
def test_any_cell_has_a_shape_or_none(cell: Any) -> None:
    found = find_shape(cell)
    assert found is None or found in SHAPES
    for shape in SHAPES:
        try:
            to_turns(cell, shape)
        except InvalidConversation as rejected:
            assert rejected.code  # noqa: PT017
