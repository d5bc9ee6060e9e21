"""--tokenizer and --max-tokens: what is counted, what is cut, and that texts end as all others."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import (
    Prepare,
    has,
    lines,
    put,
)
from hub import Hub, hub_environment
from hub_runs import refused, run
from hypothesis import given
from hypothesis import strategies as st
from made_tokenizers import byte_bpe
from means import examples
from tokenizers import Tokenizer

import transforms.chat.token_counter as tokens_module
from transforms.chat.builtin_templates import built_in, chatml
from transforms.chat.output_columns import OutputColumns
from transforms.chat.render_rows import render, sandbox_of
from transforms.chat.rendered_rows import RenderedRows
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.chat.template import ChatFormat
from transforms.chat.token_counter import TOKENIZER_FILE, TokenCounter, stored_counter
from transforms.chat.token_limit import Limit, TooLong
from transforms.conversations.turns import ASSISTANT, USER, Turn, Turns
from transforms.errors import StorageError
from transforms.options import TokenRule
from transforms.records import ROW, TOKENS, TURNS
from transforms.storage.local import LocalStore

COUNTER = TokenCounter(byte_bpe())
PLAIN = Tokenizer.from_str(byte_bpe().decode())
TEXT = OutputColumns()
PROMPT_COMPLETION = OutputColumns(("prompt-completion",))


def counted(text: str) -> int:
    """As the library counts one text by itself."""
    return len(PLAIN.encode(text, add_special_tokens=False).ids)


def limit(most: int | None, too_long: str = "truncate-response") -> Limit:
    return Limit(TokenRule("made", "", most, too_long), COUNTER)


def pairs(*rows: tuple[str, str], **more: list[Any]) -> pa.Table:
    asked, said = zip(*rows, strict=True)
    numbers = pa.array(range(1, len(rows) + 1), pa.int64())
    return pa.table({"instruction": asked, "response": said, ROW: numbers, **more})


def conversations(*rows: list[Turn]) -> pa.Table:
    numbers = pa.array(range(1, len(rows) + 1), pa.int64())
    return pa.table({TURNS: Turns.of_rows(rows).column(), ROW: numbers})


def rendered(
    table: pa.Table,
    bound: Limit,
    chat: ChatFormat | None = None,
    output_columns: OutputColumns = TEXT,
) -> RenderedRows:
    chat = chat or chatml("")
    with sandbox_of(chat) as sandbox:
        return render(table, chat, output_columns, sandbox, bound)


def codes(rows: RenderedRows) -> list[tuple[int, str]]:
    return [(row["row"], row["code"]) for row in rows.rejects.sort_by("row").to_pylist()]


class TestCounting:
    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=20))
    def test_batches_are_counted_as_the_library_counts_each_text(self, texts: list[str]) -> None:
        column = pa.chunked_array([texts[:3], texts[3:]], pa.string())
        assert COUNTER.count(column).tolist() == [counted(text) for text in texts]

    def test_long_batches_are_counted_in_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        texts = ["hello world " * n for n in (0, 50, 1, 200, 3, 3, 3)]
        whole = COUNTER.count(pa.chunked_array([texts])).tolist()
        monkeypatch.setattr(tokens_module, "_STEP_BYTES", 16)
        assert COUNTER.count(pa.chunked_array([texts])).tolist() == whole
        assert whole == [counted(text) for text in texts]

    def test_a_tokenizers_own_truncation_and_padding_are_left_out(self) -> None:
        other = TokenCounter(byte_bpe(truncates=True))
        texts = ["hello", "hello world " * 30]
        assert other.count(pa.chunked_array([texts])).tolist() == [counted(t) for t in texts]

    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
    def test_no_token_ends_inside_a_character(self, text: str) -> None:
        ends = COUNTER.ends(text).tolist()
        assert len(ends) == counted(text)
        assert ends == sorted(ends) and (not ends or ends[-1] == len(text))
        for end in ends:
            assert counted(text[:end]) <= counted(text)

    def test_a_character_of_several_tokens_ends_with_its_last_one(self) -> None:
        assert COUNTER.ends("😀!").tolist() == [0, 0, 0, 1, 2]


class TestStored:
    @pytest.fixture(autouse=True)
    def nothing_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tokens_module, "_loaded", {})

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Any:
        folder = LocalStore(str(tmp_path / "out"))
        with folder.claimed():
            yield folder

    @staticmethod
    def rule(data: bytes) -> TokenRule:
        return TokenRule("made", sha256(data).hexdigest())

    def test_is_loaded_once_a_process(self, folder: LocalStore) -> None:
        folder.put_work(TOKENIZER_FILE, byte_bpe())
        first = stored_counter(folder, self.rule(byte_bpe()))
        assert stored_counter(folder, self.rule(byte_bpe())) is first

    @pytest.mark.parametrize(("data", "what"), [(None, "is gone"), (b"{}", "has other bytes")])
    def test_another_one_is_refused(
        self, folder: LocalStore, data: bytes | None, what: str
    ) -> None:
        if data is not None:
            folder.put_work(TOKENIZER_FILE, data)
        with pytest.raises(StorageError, match=what):
            stored_counter(folder, self.rule(byte_bpe()))


LONG = "this is an answer " * 40


class TestLimit:
    def test_without_one_every_row_is_counted(self) -> None:
        rows = rendered(pairs(("what", "this"), ("what", LONG)), limit(None))
        assert rows.kept.column_names == ["text", "instruction", "response", TOKENS]
        assert rows.kept[TOKENS].to_pylist() == [counted(t) for t in rows.kept["text"].to_pylist()]

    def test_rows_above_leave(self) -> None:
        table = pairs(("what", "this"), ("what", LONG), ("is this", "three"))
        rows = rendered(table, limit(40, "reject"))
        assert codes(rows) == [(2, "too-many-tokens")]
        told = counted(chatml("").render("what", LONG))
        assert rows.rejects["excerpt"].to_pylist() == [f"{told:,} tokens, more than 40"]
        assert rows.kept["instruction"].to_pylist() == ["what", "is this"]
        assert rows.rows.to_pylist() == [1, 3]

    def test_a_row_of_just_so_many_stays(self) -> None:
        most = counted(chatml("").render("what", "this"))
        assert codes(rendered(pairs(("what", "this")), limit(most, "reject"))) == []
        assert codes(rendered(pairs(("what", "this")), limit(most - 1, "reject"))) == [
            (1, "too-many-tokens")
        ]

    def test_raise_tells_the_first_row(self) -> None:
        with pytest.raises(TooLong) as caught:
            rendered(pairs(("what", "this"), ("a", LONG), ("b", LONG)), limit(40, "raise"))
        assert caught.value.row == 2
        has(
            str(caught.value.at("a.jsonl", 1002)), "a.jsonl row 1,002 has", "the 40 of --max-tokens"
        )

    @pytest.mark.parametrize("most", range(18, 60, 3))
    @pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "qwen3"])
    def test_answers_are_cut_and_texts_end_as_all_others(self, name: str, most: int) -> None:
        chat = ChatFormat(built_in(name, DEFAULT_DATE))
        whole = "hello 😀 world é " * 20
        table = conversations(
            [Turn(USER, "what"), Turn(ASSISTANT, whole)],
            [Turn(USER, "what"), Turn(ASSISTANT, "this")],
        )
        fixed = counted(_one(chat, conversations([Turn(USER, "what"), Turn(ASSISTANT, "x")])))
        rows = rendered(table, limit(most + fixed), chat)
        assert codes(rows) == [] and rows.note_counts["response-truncated"] == 1
        texts, answers = rows.kept["text"].to_pylist(), rows.kept["response"].to_pylist()
        assert answers[1] == "this"
        assert whole.startswith(answers[0]) and answers[0] not in ("", whole)
        again = conversations([Turn(USER, "what"), Turn(ASSISTANT, answers[0])])
        assert texts[0] == _one(chat, again)
        assert counted(texts[0]) <= most + fixed
        assert counted(texts[0]) > most + fixed - 12  # a character may be several tokens
        assert rows.kept[TOKENS].to_pylist() == [counted(text) for text in texts]

    def test_only_the_last_answer_is_cut(self) -> None:
        first = "three times three is nine " * 5
        told = [Turn(USER, "what"), Turn(ASSISTANT, first), Turn(USER, "is"), Turn(ASSISTANT, LONG)]
        rows = rendered(conversations(told), limit(150))
        (text,) = rows.kept["text"].to_pylist()
        assert first in text and text.endswith("<|im_end|>")
        (answer,) = rows.kept["response"].to_pylist()
        assert LONG.startswith(answer) and 0 < len(answer) < len(LONG)

    @pytest.mark.parametrize("columns", ["messages", "prompt-completion"])
    def test_all_columns_have_the_cut_answer(self, columns: str) -> None:
        rows = rendered(pairs(("what", LONG)), limit(60), output_columns=OutputColumns((columns,)))
        (row,) = rows.kept.to_pylist()
        assert row.pop(TOKENS) <= 60
        if columns == "messages":
            answer = row["messages"][-1]["content"]
        else:
            assert set(row) == {"prompt", "completion"}
            assert counted(row["prompt"] + row["completion"]) <= 60
            answer = row["completion"].removesuffix("<|im_end|>")
        assert LONG.startswith(answer) and answer != LONG

    def test_reasoning_counts_and_is_not_cut(self) -> None:
        thought = "<think>\nthree times three\n</think>\n\n"
        rows = rendered(pairs(("what", thought + LONG), ("what", thought * 9 + "x")), limit(90))
        answers = rows.kept["response"].to_pylist()
        assert answers[0].startswith(thought) and len(thought) < len(answers[0]) < len(LONG)
        tight = counted(chatml("").render("what", thought)) - 2
        assert codes(rendered(pairs(("what", thought + LONG)), limit(tight))) == [
            (1, "prompt-too-long")
        ]

    def test_a_prompt_that_leaves_no_room_is_a_reject(self) -> None:
        table = pairs((LONG, "this is"), ("what", "this"), ("what", LONG))
        rows = rendered(table, limit(60))
        assert codes(rows) == [(1, "prompt-too-long")]
        assert rows.rows.to_pylist() == [2, 3]
        assert rows.note_counts == {"response-truncated": 1}

    def test_an_answer_of_blanks_alone_is_none(self) -> None:
        room = counted(chatml("").render("what", "\n")) + 1
        rows = rendered(pairs(("what", "\n" * 400 + "this")), limit(room))
        assert codes(rows) == [(1, "prompt-too-long")]

    def test_calls_cannot_be_cut(self) -> None:
        call = json.dumps(
            [{"type": "function", "function": {"name": "f", "arguments": {"x": "y " * 99}}}]
        )
        asks = [Turn(USER, "what"), Turn(ASSISTANT, "", None, call)]
        rows = rendered(conversations(asks), limit(40), ChatFormat(built_in("qwen3", DEFAULT_DATE)))
        assert codes(rows) == [(1, "prompt-too-long")]

    @pytest.mark.parametrize("too_long", ["reject", "truncate-response"])
    def test_events_are_of_rows_that_are_kept(self, too_long: str) -> None:
        chat = ChatFormat(chatml("").template, control_tokens="keep")
        token = "<|im_end|>"
        table = pairs(("a", token), ("what", f"{token}{LONG}"), ("what", f"{LONG}{token}"))
        events = dict(rendered(table, limit(60, too_long), chat).note_counts)
        # The third row loses its token with what is cut.
        cut = {"control-token-kept": 2, "response-truncated": 2}
        assert events == ({"control-token-kept": 1} if too_long == "reject" else cut)

    @examples(60)
    @given(
        st.lists(
            st.tuples(st.text("a é😀\n", min_size=1), st.text("b c😀<\n", min_size=1)), min_size=1
        ),
        st.integers(5, 60),
    )
    def test_no_text_is_above_and_no_row_is_lost(
        self, rows: list[tuple[str, str]], most: int
    ) -> None:
        done = rendered(pairs(*rows), limit(most))
        numbers = done.rows.to_pylist()
        assert sorted([*numbers, *done.rejects["row"].to_pylist()]) == list(range(1, len(rows) + 1))
        assert numbers == sorted(numbers)
        for number, row in zip(numbers, done.kept.to_pylist(), strict=True):
            asked, said = rows[number - 1]
            assert row["instruction"] == asked and said.startswith(row["response"])
            assert row["text"] == chatml("").render(asked, row["response"])
            assert counted(row["text"]) == row[TOKENS] <= most

    def test_validation_rows_and_hidden_columns_keep_their_places(self) -> None:
        rows = [("what", "this"), ("what", LONG), ("is", LONG), ("is", "nine")]
        marks = {"validation": [False, False, True, True], "__balance__0": list("abcd")}
        done = rendered(pairs(*rows, **marks), limit(50))
        assert done.kept["validation"].to_pylist() == marks["validation"]
        assert done.kept["__balance__0"].to_pylist() == marks["__balance__0"]


def _one(chat: ChatFormat, table: pa.Table) -> str:
    with sandbox_of(chat) as sandbox:
        (text,) = render(table, chat, TEXT, sandbox).kept["text"].to_pylist()
    return str(text)


MOST_60 = ("--max-tokens", 60, "--system-prompt", "none")


class TestRuns:
    @pytest.fixture
    def tokenizer(self, tmp_path: Path) -> Path:
        return put(tmp_path / "model" / TOKENIZER_FILE, byte_bpe())

    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        rows = ({"question": f"what {n}", "answer": "three " * (n % 50 + 1)} for n in range(400))
        return lines(tmp_path / "rows.jsonl", *rows)

    @pytest.mark.parametrize("columns", ["text", "messages", "prompt-completion"])
    def test_tokens_are_told_of_every_kind_of_set(
        self, prepare: Prepare, rows: Path, tokenizer: Path, columns: str
    ) -> None:
        ended = prepare("--dataset", rows, "--tokenizer", tokenizer.parent, "--columns", columns)
        quality = ended.manifest["quality"]
        assert quality["tokenizer"] == {
            "name": "model",
            "sha256": sha256(byte_bpe()).hexdigest(),
            "max_tokens": None,
            "too_long": "reject",
        }
        found = quality["lengths"]["tokens"]
        texts = prepare("--dataset", rows).texts()
        told = [found[split] for split in ("train", "validation")]
        assert found["unit"] == "tokens"
        assert sum(split["rows"] for split in told) == 400
        assert sum(split["total"] for split in told) == sum(map(counted, texts))
        assert max(split["max"] for split in told) == max(map(counted, texts))
        assert set(found["above"]["train"]) == {"1024", "2048", "4096", "8192"}
        assert all(name.startswith("__") is False for name in ended.rows()[0])

    @pytest.mark.parametrize("too_long", ["reject", "truncate-response"])
    def test_the_preview_shows_what_the_job_makes(
        self, prepare: Prepare, rows: Path, tokenizer: Path, too_long: str
    ) -> None:
        words = ("--dataset", rows, "--tokenizer", tokenizer, *MOST_60)
        words = (*words, "--too-long", too_long, "--max-reject-rate", 1)
        shown = prepare(*words, "-n", 1000, "--json", verb="preview").told["rows"]
        ended = prepare(*words)
        assert sorted(row["text"] for row in shown) == sorted(ended.texts())
        quality = ended.manifest["quality"]
        assert quality["truncated"] == (0 if too_long == "reject" else 400 - _fitting(shown))
        splits = (quality["lengths"]["tokens"][split] for split in ("train", "validation"))
        assert max(split["max"] for split in splits) <= 60
        assert all(counted(text) <= 60 for text in ended.texts())
        rejected = ended.counts["rejected"]["by_reason"]
        assert rejected == ({"too-many-tokens": 400 - len(shown)} if too_long == "reject" else {})

    def test_raise_names_the_row_of_the_file(
        self, prepare: Prepare, tmp_path: Path, tokenizer: Path
    ) -> None:
        long = [{"question": "what", "answer": "hello"}] * 6 + [{"question": "a", "answer": LONG}]
        dataset = lines(tmp_path / "one.jsonl", *long)
        words = ("--dataset", dataset, "--tokenizer", tokenizer, *MOST_60)
        for verb in ("prepare", "preview"):
            ended = prepare(*words, "--too-long", "raise", verb=verb)
            assert ended.code == 3
            assert has(ended.err, "one.jsonl row 7 has", "more than the 60 of --max-tokens")

    def test_the_gate_counts_what_was_cut(
        self, prepare: Prepare, rows: Path, tokenizer: Path
    ) -> None:
        words = ("--dataset", rows, "--tokenizer", tokenizer, *MOST_60)
        words = (*words, "--too-long", "truncate-response", "--max-truncated")
        assert prepare(*words, 1).code == 0
        failed = prepare(*words, 0.01)
        assert failed.code == 8 and has(failed.err, "were truncated to --max-tokens")

    @pytest.mark.parametrize(
        ("data", "code", "said"),
        [
            (b"{}", 3, "cannot be used"),
            (b"\xff\xfe", 3, "cannot be used"),
            (b"", 3, "cannot be used"),
            (b"[" * 100_000, 3, "cannot be used"),
            (None, 2, "has no tokenizer.json"),
        ],
    )
    def test_a_folder_without_a_tokenizer_that_counts(
        self, prepare: Prepare, tmp_path: Path, rows: Path, data: bytes | None, code: int, said: str
    ) -> None:
        folder = tmp_path / "broken"
        folder.mkdir()
        if data is not None:
            put(folder / TOKENIZER_FILE, data)
        ended = prepare("--dataset", rows, "--tokenizer", folder)
        assert ended.code == code and has(ended.err, "--tokenizer", said)

    @pytest.mark.parametrize("name", ["no/such/file.json", "nothing", "a/b.json", "x" * 300])
    def test_what_is_not_there(self, prepare: Prepare, rows: Path, name: str) -> None:
        ended = prepare("--dataset", rows, "--tokenizer", name)
        assert ended.code == 2 and has(ended.err, "--tokenizer")

    def test_a_file_that_is_too_large(
        self, prepare: Prepare, rows: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.planning.tokenizer.MAX_BYTES", 1000)
        ended = prepare("--dataset", rows, "--tokenizer", tokenizer)
        assert ended.code == 2 and has(ended.err, "more than 1,000 bytes")


MODEL = "user/model"
WEIGHTS = {"model.safetensors": b"x" * 100, "tokenizer.model": b"x"}


class TestHub:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> Path:
        return lines(tmp_path / "in" / "a.jsonl", {"question": "what", "answer": "this"})

    @pytest.mark.parametrize("name", [MODEL, f"hub:{MODEL}"])
    def test_a_model_s_tokenizer_is_fetched_and_nothing_else(
        self, hub: Hub, tmp_path: Path, rows: Path, name: str
    ) -> None:
        hub.add_model(MODEL, {**WEIGHTS, TOKENIZER_FILE: byte_bpe()})
        ended = run(
            hub_environment(hub, tmp_path), tmp_path, "--dataset", str(rows), "--tokenizer", name
        )
        quality = ended.manifest["quality"]
        assert quality["tokenizer"]["name"] == f"hub:{MODEL}"
        assert quality["lengths"]["tokens"]["train"]["rows"] in (0, 1)
        asked = [request.path for request in hub.requests if "/resolve/" in request.path]
        assert {path.rpartition("/")[2] for path in asked} == {TOKENIZER_FILE}

    def test_a_model_without_one_is_told(self, hub: Hub, tmp_path: Path, rows: Path) -> None:
        hub.add_model(MODEL, WEIGHTS)
        words = ("--dataset", str(rows), "--tokenizer", MODEL)
        ended = run(hub_environment(hub, tmp_path), tmp_path, *words)
        refused(ended, 2, "--tokenizer", "has no tokenizer.json")

    def test_a_model_that_is_not_there(self, hub: Hub, tmp_path: Path, rows: Path) -> None:
        words = ("--dataset", str(rows), "--tokenizer", "user/nothing")
        refused(run(hub_environment(hub, tmp_path), tmp_path, *words), 4, "user/nothing")


def _fitting(shown: list[dict[str, Any]]) -> int:
    """Rows that nothing was cut of."""
    whole = {"three " * n for n in range(1, 51)}
    return sum(row["response"] in whole for row in shown)
