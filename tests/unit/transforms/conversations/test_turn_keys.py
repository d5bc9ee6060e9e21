"""The keys of turns: rows of one source may use different ones, and those that come late count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import has, lines, turns
from conversions import Convert, Converted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_files import parquet

from pipeline.planning.plan_text import roles_seen
from transforms.conversations import reasoning
from transforms.conversations.detect_turns import detect_turns
from transforms.conversations.field_mapping import TurnMapping
from transforms.conversations.parse_turns import parse_cell
from transforms.conversations.roles import ALIASES, role_of, role_table
from transforms.conversations.training_marks import TURN_MARKS, is_off, mark_of
from transforms.conversations.turn_keys import ROLE_KEYS, TEXT_KEYS, find_turn_keys
from transforms.records import Column

SAMPLE = 500
"""Rows that a plan looks at."""

Message = dict[str, Any]


def ask(i: int) -> str:
    return f"How would you mend the kettle number {i} before winter?"


def answer(i: int) -> str:
    return f"Start with step {i}: look at it slowly, and write down what you saw."


def openai(i: int) -> list[Message]:
    return turns(ask(i), answer(i))


def sharegpt(i: int) -> list[Message]:
    return [{"from": "human", "value": ask(i)}, {"from": "gpt", "value": answer(i)}]


def kept(done: Converted) -> list[str]:
    assert done.reasons == {}, done.rejects[:3]
    return done.texts()


def write(path: Path, rows: list[Message]) -> Path:
    if path.suffix == ".parquet":
        names = dict.fromkeys(name for row in rows for name in row)
        return parquet(path, pa.table({n: [row.get(n) for row in rows] for n in names}))
    return lines(path, *rows)


@pytest.fixture(params=["jsonl", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"rows.{request.param}"


class TestRowsThatDiffer:
    def expected(self, convert: Convert, tmp_path: Path, count: int) -> list[str]:
        plain = lines(tmp_path / "plain.jsonl", *({"messages": openai(i)} for i in range(count)))
        return kept(convert("--dataset", plain))

    @pytest.mark.parametrize("others", [1, 2, 5])
    def test_each_row_is_read_by_its_own_keys(
        self, convert: Convert, path: Path, tmp_path: Path, others: int
    ) -> None:
        rows = [{"conversations": (sharegpt if i % 6 < others else openai)(i)} for i in range(24)]
        done = convert("--dataset", write(path, rows))
        assert kept(done) == self.expected(convert, tmp_path, 24)
        assert set(done.plan.fields.mapping.roles_in(done.plan.sample)) == {
            "human", "gpt", "user", "assistant",
        }  # fmt: skip

    def test_also_each_turn(self, convert: Convert, path: Path, tmp_path: Path) -> None:
        rows = [{"messages": [sharegpt(i)[0], openai(i)[1]]} for i in range(12)]
        assert kept(convert("--dataset", write(path, rows))) == self.expected(convert, tmp_path, 12)

    @pytest.mark.parametrize("role", ROLE_KEYS)
    @pytest.mark.parametrize("text", TEXT_KEYS)
    def test_keys_that_come_after_the_sample_are_read(
        self, convert: Convert, tmp_path: Path, role: str, text: str
    ) -> None:
        late = [{role: turn["role"], text: turn["content"]} for turn in openai(SAMPLE)]
        rows = [*({"messages": openai(i)} for i in range(SAMPLE)), {"messages": late}]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        alone = convert("--dataset", lines(tmp_path / "b.jsonl", {"messages": late}))
        assert kept(done)[-1:] == kept(alone)

    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_a_row_outside_of_the_sample_gives_the_text_that_it_gives_inside(
        self, convert: Convert, tmp_path: Path, data: st.DataObject
    ) -> None:
        more = st.dictionaries(
            st.sampled_from([*reasoning.KEYS, "name", "weight", "loss", "train", "id", "extra"]),
            st.sampled_from(["text", 1, 0, True, False, None, 0.5, [], {"a": 1}]),
            max_size=3,
        )
        keys = data.draw(st.tuples(st.sampled_from(ROLE_KEYS), st.sampled_from(TEXT_KEYS)))
        late = {
            "messages": [
                {**data.draw(more), keys[0]: turn["role"], keys[1]: turn["content"]}
                for turn in openai(SAMPLE)
            ]
        }
        plain = [{"messages": openai(i)} for i in range(SAMPLE)]

        def made(path: Path) -> tuple[object, object]:
            done = convert("--dataset", path)
            if done.code == 2:  # inside, a mark refuses the set
                return None, "marked-untrained"
            codes = {row: code for _, row, code in done.rejects}
            place = SAMPLE + 1 if path.name == "late.jsonl" else 1
            text = None if place in codes else done.texts()[place - 1]
            return text, codes.get(place)

        outside = made(lines(tmp_path / "late.jsonl", *plain, late))
        inside = made(lines(tmp_path / "early.jsonl", late, *plain))
        assert outside == inside

    def test_a_name_of_the_speaker_is_no_role(self, convert: Convert, path: Path) -> None:
        rows = [
            {"messages": [{**turn, "author": "Ann", "text": "other"} for turn in openai(i)]}
            for i in range(12)
        ]
        done = convert("--dataset", write(path, rows))
        assert "other" not in kept(done)[0]
        assert done.plan.fields.mapping.describe() == "messages=messages (turns of role, content)"

    def test_a_call_without_text_gets_none_of_another_key(self) -> None:
        turn = {
            "role": "assistant",
            "content": None,
            "text": "a log",
            "tool_calls": [{"name": "f"}],
        }
        keys = TurnMapping(("messages",), "role", "content").keys
        (parsed,) = parse_cell([turn], keys)
        assert parsed.content == "" and parsed.tool_calls

    def test_conversations_of_some_rows_are_messages_of_others(
        self, convert: Convert, path: Path, tmp_path: Path
    ) -> None:
        rows = [
            {"conversations": sharegpt(i)} if i % 4 else {"messages": openai(i)} for i in range(24)
        ]
        done = convert("--dataset", write(path, rows))
        assert kept(done) == self.expected(convert, tmp_path, 24)
        assert done.plan.fields.rule == (
            "columns messages+conversations hold turns, each row in one of them"
        )
        again = convert("--dataset", path, "--fields", done.plan.fields.mapping.flag)
        assert kept(again) == kept(done)

    def test_a_later_row_with_both_must_not_join_them(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        rows: list[Message] = [
            {"conversations": sharegpt(i)} if i % 4 else {"messages": openai(i)}
            for i in range(SAMPLE)
        ]
        rows += [
            {"conversations": sharegpt(1), "messages": openai(2)},
            {"conversations": sharegpt(3), "messages": openai(3)},
            {"conversations": [], "messages": None},
        ]
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows), "--dedup", "off")
        assert [(row, code) for _, row, code in done.rejects] == [
            (SAMPLE + 1, "two-conversations"),
            (SAMPLE + 3, "empty-messages"),
        ]
        assert done.texts()[-1] == done.texts()[3]

    def test_columns_that_a_row_fills_both_are_not_joined(self) -> None:
        rows = [{"messages": openai(i), "conversations": sharegpt(i)} for i in range(5)]
        columns = [Column("messages", "list"), Column("conversations", "list")]
        choice = detect_turns(columns, [*rows, {"conversations": sharegpt(5)}])
        assert choice is not None
        assert choice.mapping == TurnMapping(("messages",), "role", "content")

    def test_prompt_and_completion_follow_each_other(self, convert: Convert, path: Path) -> None:
        rows = [{"prompt": openai(i)[:1], "completion": openai(i)[1:]} for i in range(12)]
        done = convert("--dataset", write(path, rows))
        assert not done.plan.fields.mapping.either
        assert all(ask(i) in text for i, text in enumerate(kept(done)))


def test_keys_that_another_turn_has_are_null_in_arrow() -> None:
    nulls = [{"role": None, "content": None, **turn} for turn in sharegpt(1)]
    assert find_turn_keys(nulls) == ("from", "value")
    assert find_turn_keys([{"role": None, "content": None}]) == ("role", "content")


class TestRoles:
    @pytest.mark.parametrize(
        ("name", "role"),
        [
            ("ai", "assistant"),
            ("AI", "assistant"),
            ("chatbot", "assistant"),
            ("tool_call", "function_call"),
            ("tool_response", "tool"),
            ("tool_result", "tool"),
        ],
    )
    def test_names_of_other_trainers_are_known(self, name: str, role: str) -> None:
        assert role_of(name, ALIASES) == role

    @pytest.mark.parametrize("name", [None, 0, 1, True, 1.5, [], {}, "bing"])
    def test_other_values_are_unknown(self, name: object) -> None:
        assert role_of(name, ALIASES) is None

    def test_a_flag_may_name_numbers_and_turns_without_a_role(
        self, convert: Convert, path: Path
    ) -> None:
        table = role_table(["0=user", "1=assistant", "None=user"])
        assert [role_of(name, table) for name in (0, 1, None, "None")] == [
            "user", "assistant", "user", "user",
        ]  # fmt: skip
        rows = [{"messages": [{"role": None, "content": ask(i)}, openai(i)[1]]} for i in range(12)]
        write(path, rows)
        assert convert("--dataset", path).reasons == {"unknown-role": 12}
        done = convert("--dataset", path, "--role", "None=user")
        assert kept(done) == kept(
            convert("--dataset", write(path, [{"messages": openai(i)} for i in range(12)]))
        )

    def test_roles_that_come_late_are_used_or_rejected(self, convert: Convert, path: Path) -> None:
        rows: list[Message] = [{"messages": openai(i)} for i in range(SAMPLE)]
        for name in ("ai", "bing"):
            rows += [{"messages": [openai(SAMPLE)[0], {"role": name, "content": f"{name} says."}]}]
        done = convert("--dataset", write(path, rows))
        assert done.rejects == [(path.name, SAMPLE + 2, "unknown-role")]
        assert "assistant\nai says." in done.texts()[-1]

    def test_the_plan_names_the_flag_for_an_unknown_name(
        self, convert: Convert, path: Path
    ) -> None:
        rows = [{"messages": [openai(i)[0], {"role": "bing", "content": "a"}]} for i in range(3)]
        plan = convert("--dataset", write(path, rows)).plan
        assert has(
            roles_seen(plan), "user → user, bing → unknown: the row is rejected",
            "--role bing=assistant",
        )  # fmt: skip

    def test_numbers_as_roles(self, convert: Convert, path: Path) -> None:
        rows = [
            {"messages": [{"role": n, "content": text} for n, text in enumerate((ask(i), "So."))]}
            for i in range(12)
        ]
        flags = ("--role", "0=user", "--role", "1=assistant")
        assert len(kept(convert("--dataset", write(path, rows), *flags))) == 12


class TestMarks:
    DRAFT = "A wrong draft, never learn this."

    def talk(self, i: int, key: str, off: object, on: object) -> list[Message]:
        return [
            {"role": "user", "content": ask(i)},
            {"role": "assistant", "content": f"{self.DRAFT} {i}", key: off},
            {"role": "user", "content": "Try again, please."},
            {"role": "assistant", "content": answer(i), key: on},
        ]

    MARKS = (
        ("weight", 0, 1),
        ("weight", 0.0, 1.0),
        ("train", False, True),
        ("trainable", False, True),
        ("loss_mask", 0, 1),
        ("loss", False, True),
    )

    @pytest.mark.parametrize(("key", "off", "on"), MARKS)
    def test_a_set_with_them_is_refused_unless_a_flag_says_to_train(
        self, convert: Convert, path: Path, key: str, off: object, on: object
    ) -> None:
        rows = [{"messages": self.talk(i, key, off, on)} for i in range(12)]
        for flags in ((), ("--fields", "messages=messages")):
            refused = convert("--dataset", write(path, rows), *flags)
            assert refused.code == 2
            assert has(refused.err, f"the key {key!r}", "12 of the first 12 rows")
        flag = refused.err.strip().rpartition(": ")[2]
        done = convert("--dataset", path, flag)
        assert len(kept(done)) == 12
        assert has(done.plan.fields.hint, f"the key {key!r}", "12 of the first 12 rows", flag)

    @pytest.mark.parametrize(("key", "off", "on"), MARKS)
    def test_one_that_comes_late_rejects_its_row(
        self, convert: Convert, path: Path, key: str, off: object, on: object
    ) -> None:
        rows = [{"messages": self.talk(i, key, on, on)} for i in range(SAMPLE)]
        rows.append({"messages": self.talk(SAMPLE, key, off, on)})
        done = convert("--dataset", write(path, rows))
        assert done.rejects == [(path.name, SAMPLE + 1, "marked-untrained")]
        assert len(kept(convert("--dataset", path, "--ignore-training-marks"))) == SAMPLE + 1

    @pytest.mark.parametrize("key", TURN_MARKS)
    def test_one_that_no_row_of_the_sample_has_does_too(
        self, convert: Convert, tmp_path: Path, key: str
    ) -> None:
        rows = [{"messages": openai(i)} for i in range(SAMPLE)]
        rows.append({"messages": self.talk(SAMPLE, key, 0, 1)})
        done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
        assert done.rejects == [("a.jsonl", SAMPLE + 1, "marked-untrained")]

    def test_those_of_prompts_exclude_nothing(self, convert: Convert, path: Path) -> None:
        # As in SlimOrca, whose prompts all have the weight 0.
        rows = [
            {"messages": [{**turn, "weight": float(n)} for n, turn in enumerate(openai(i))]}
            for i in range(12)
        ]
        done = convert("--dataset", write(path, rows))
        assert len(kept(done)) == 12
        if path.suffix == ".jsonl":
            (column,) = done.plan.read_columns
            assert ("weight", "double") in column.other_keys

    @pytest.mark.parametrize(
        ("name", "mask"),
        [
            ("loss_mask", [0, 0, 0, 1]),
            ("weight", 0),
            ("train", False),
            ("loss_mask", [0, 0, 0, 0, 0, 1, 1]),
        ],
    )
    @pytest.mark.parametrize("form", ["list", "JSON text"])
    def test_columns_of_marks_beside_the_turns(
        self, convert: Convert, path: Path, name: str, mask: object, form: str
    ) -> None:
        talk = [*openai(1), *openai(2)]
        cell = json.dumps(talk) if form == "JSON text" else talk
        on = [1] * len(mask) if isinstance(mask, list) else True if mask is False else 1
        rows: list[Message] = [{"messages": cell, name: mask} for _ in range(12)]
        refused = convert("--dataset", write(path, rows))
        assert refused.code == 2
        assert has(refused.err, f"the column {name!r}", "--ignore-training-marks")
        done = convert("--dataset", path, "--ignore-training-marks", "--dedup", "off")
        assert len(kept(done)) == 12
        late = [{"messages": cell, name: on} for _ in range(SAMPLE)]
        done = convert("--dataset", write(path, [*late, *rows[:1]]))
        assert done.rejects == [(path.name, SAMPLE + 1, "marked-untrained")]

    def test_a_mask_that_leaves_out_the_prompts_excludes_nothing(
        self, convert: Convert, path: Path
    ) -> None:
        rows = [{"messages": openai(i), "loss_mask": [0, 1]} for i in range(12)]
        assert len(kept(convert("--dataset", write(path, rows)))) == 12

    def test_kto_s_label_beside_prompt_and_completion(self, convert: Convert, path: Path) -> None:
        rows = [
            {"prompt": openai(i)[:1], "completion": openai(i)[1:], "label": bool(i % 2)}
            for i in range(12)
        ]
        refused = convert("--dataset", write(path, rows))
        assert refused.code == 2
        assert has(refused.err, "label")

    @pytest.mark.parametrize("value", [0, 0.0, False, "0", "False", " 0.0 ", [0, 0], ["false"]])
    def test_what_is_off(self, value: object) -> None:
        assert is_off(value)
        assert mark_of({"content": "a", "train": value}) == "train"

    @pytest.mark.parametrize("value", [1, 0.5, True, "1", "", "no", None, [], [0, 1], {}])
    def test_what_is_not(self, value: object) -> None:
        assert not is_off(value)
        assert mark_of({"content": "a", "train": value}) is None


def test_usual_turns_are_read_column_by_column(convert: Convert, tmp_path: Path) -> None:
    """The keys that no turn of the sample has are no text to Arrow's parser, which costs little."""
    rows = [{"messages": openai(i), "id": i} for i in range(12)]
    done = convert("--dataset", lines(tmp_path / "a.jsonl", *rows))
    (column,) = done.plan.read_columns
    assert dict(column.other_keys) == dict.fromkeys(dict(column.other_keys), "null")
    assert {"function_call", "from", "value", "weight"} <= dict(column.other_keys).keys()
    assert "role" in column.keys and "content" in column.keys
