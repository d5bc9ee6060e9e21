"""The shapes of pairs that users bring, from their files to the text that is trained.

A refused shape is tried again with each flag that its message names.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from command_runs import has, lines, put
from conversions import Convert, Converted
from source_files import parquet

COUNT = 12
Rows = list[dict[str, Any]]


def question(n: int) -> str:
    return f"How do you repair bridge {n} before winter?"


def answer(n: int) -> str:
    return f"Look at bridge {n} first, then mend it."


def report(n: int) -> str:
    return f"Report {n}: the bridge was built in {1900 + n}."


def rows(make: Callable[[int], dict[str, Any]], count: int = COUNT) -> Rows:
    return [make(n) for n in range(count)]


def spoken(ended: Converted) -> list[list[tuple[str, str]]]:
    """Each kept row's text as (role, content) without the default system prompt."""
    made = []
    for text in ended.texts():
        found = re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", text, re.DOTALL)
        made.append([turn for turn in found if not turn[1].startswith("You are a helpful")])
    return made


def pairs(
    make: Callable[[int], tuple[str, str]], count: int = COUNT
) -> list[list[tuple[str, str]]]:
    return [[("user", make(n)[0]), ("assistant", make(n)[1])] for n in range(count)]


@pytest.fixture
def read(convert: Convert, tmp_path: Path) -> Callable[..., Converted]:
    """Converts rows as JSON Lines; every row of the source must be kept."""

    def run(made: Rows, *flags: str) -> Converted:
        ended = convert("--dataset", lines(tmp_path / "rows.jsonl", *made), *flags)
        assert ended.code == 0, ended.err
        return ended

    return run


Read = Callable[..., Converted]


def remedies(message: str) -> list[list[str]]:
    """The flags of a message, each as words of a command line."""
    found = re.findall(r"(--(?:fields|list-answers) [^\s;]+|--ignore-training-marks)", message)
    return [shlex.split(flag) for flag in found]


class TestNamedColumns:
    def test_system_query_response_history(self, read: Read) -> None:
        ended = read(
            rows(
                lambda n: {
                    "system": f"You know bridge {n}.",
                    "query": question(n),
                    "response": answer(n),
                    "history": [[question(n + 50), answer(n + 50)]] if n % 2 else [],
                }
            )
        )
        assert spoken(ended)[0] == [
            ("system", "You know bridge 0."),
            ("user", question(0)),
            ("assistant", answer(0)),
        ]
        assert spoken(ended)[1] == [
            ("system", "You know bridge 1."),
            ("user", question(51)),
            ("assistant", answer(51)),
            ("user", question(1)),
            ("assistant", answer(1)),
        ]

    def test_instruction_context_response(self, read: Read) -> None:
        ended = read(
            rows(
                lambda n: {
                    "instruction": question(n),
                    "context": report(n) if n % 2 else "",
                    "response": answer(n),
                    "category": "closed_qa",
                }
            )
        )
        assert spoken(ended) == pairs(
            lambda n: (f"{question(n)}\n\n{report(n)}" if n % 2 else question(n), answer(n))
        )

    @pytest.mark.parametrize("name", ["context", "passage"])
    def test_a_question_about_a_context(self, read: Read, name: str) -> None:
        ended = read(
            rows(lambda n: {"answer": bool(n % 2), "question": question(n), name: report(n)})
        )
        assert spoken(ended) == pairs(
            lambda n: (f"{report(n)}\n\n{question(n)}", "true" if n % 2 else "false")
        )

    def test_a_context_without_its_question_is_no_prompt(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        made = rows(lambda n: {"context": report(n), "question": question(n), "answer": answer(n)})
        made[3]["question"] = " "
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.rejects == [("a.jsonl", 4, "blank-instruction")]

    def test_instruction_input_response(self, read: Read) -> None:
        ended = read(
            rows(lambda n: {"input": report(n), "response": answer(n), "instruction": "Shorten."})
        )
        assert spoken(ended) == pairs(lambda n: (f"Shorten.\n{report(n)}", answer(n)))

    def test_query_and_response_among_types(self, read: Read) -> None:
        ended = read(
            rows(
                lambda n: {
                    "type": "how to do it",
                    "query": question(n),
                    "remark": report(n),
                    "response": answer(n),
                }
            )
        )
        assert spoken(ended) == pairs(lambda n: (question(n), answer(n)))

    def test_short_answers(self, read: Read) -> None:
        ended = read(rows(lambda n: {"prompt": question(n), "response": ["good", "bad"][n % 2]}))
        assert spoken(ended) == pairs(lambda n: (question(n), ["good", "bad"][n % 2]))

    def test_short_cells_of_a_table(self, convert: Convert, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Query", "Answer"])
            writer.writerows([f"{n}?", f"{3 * n}"] for n in range(COUNT))
        assert spoken(convert("--dataset", path)) == pairs(lambda n: (f"{n}?", f"{3 * n}"))

    @pytest.mark.parametrize("size", [1, 2, 10])
    def test_few_rows(self, read: Read, size: int) -> None:
        ended = read(rows(lambda n: {"instruction": "Write a poem.", "output": answer(n)}, size))
        assert spoken(ended) == pairs(lambda n: ("Write a poem.", answer(n)), size)


class TestBlankParts:
    @pytest.mark.parametrize("every", [1, 3])
    @pytest.mark.parametrize("blank", ["", " ", None])
    def test_an_input_without_its_instruction_is_the_prompt(
        self, read: Read, blank: str | None, every: int
    ) -> None:
        ended = read(
            rows(
                lambda n: {
                    "instruction": blank if n % every == 0 else "Shorten.",
                    "input": report(n),
                    "output": answer(n),
                }
            )
        )
        assert spoken(ended) == pairs(
            lambda n: (report(n) if n % every == 0 else f"Shorten.\n{report(n)}", answer(n))
        )

    def test_nan_is_no_input(self, convert: Convert, tmp_path: Path) -> None:
        line = '{"instruction": "%s", "input": NaN, "output": "%s"}\n'
        text = "".join(line % (question(n), answer(n)) for n in range(COUNT))
        ended = convert("--dataset", put(tmp_path / "a.jsonl", text))
        assert spoken(ended) == pairs(lambda n: (question(n), answer(n)))

    def test_the_text_nan_stays_and_is_told(self, read: Read) -> None:
        ended = read(
            rows(lambda n: {"instruction": question(n), "input": "nan", "output": answer(n)})
        )
        assert spoken(ended) == pairs(lambda n: (f"{question(n)}\nnan", answer(n)))
        assert has(ended.plan.fields.hint, "the text 'nan' is most of the column 'input'")

    def test_a_few_are_not_told(self, read: Read) -> None:
        made = rows(lambda n: {"question": question(n), "answer": "nan" if n < 3 else answer(n)})
        assert read(made).plan.fields.hint == ""


class TestValues:
    """What a cell holds decides no row: numbers and booleans are written as JSON writes them."""

    @pytest.mark.parametrize("kind", ["jsonl", "json"])
    @pytest.mark.parametrize(
        "values",
        [
            [5] * 600 + ["It is five.", 2.5, True, None],
            ["five"] * 600 + [5, 1.0, False, None],
            [True] * 600 + ["yes", 0, None],
            [1.5] * 600 + [3, "three", 1e22, None],
            [3, True, 2.5, "x"],
            [3, True, False, 2.5] * 200,
        ],
        ids=["number", "text", "boolean", "fraction", "mixed", "no text"],
    )
    def test_a_late_change_of_type_loses_no_row(
        self, convert: Convert, tmp_path: Path, kind: str, values: list[Any]
    ) -> None:
        made = [{"question": question(n), "answer": value} for n, value in enumerate(values)]
        path = tmp_path / f"a.{kind}"
        put(path, json.dumps(made)) if kind == "json" else lines(path, *made)
        for batch_bytes in (2**10, 2**18):
            ended = convert("--dataset", path, batch_bytes=batch_bytes)
            empty = [n for n, value in enumerate(values, 1) if value is None]
            assert ended.rejects == [(path.name, n, "null-response") for n in empty]
            wanted = [v if isinstance(v, str) else json.dumps(v) for v in values if v is not None]
            assert [row["response"] for row in ended.rows()] == wanted

    @pytest.mark.parametrize(
        ("values", "texts"),
        [
            (pa.array([1.0, -2.5, 1e22, -0.0]), ["1.0", "-2.5", "1e+22", "-0.0"]),
            (pa.array([1.0, 0.1], pa.float32()), ["1.0", "0.1"]),
            (pa.array([3, -4], pa.int16()), ["3", "-4"]),
            (pa.array([True, False]), ["true", "false"]),
        ],
    )
    def test_typed_columns(
        self, convert: Convert, tmp_path: Path, values: pa.Array, texts: list[str]
    ) -> None:
        table = pa.table({"question": [question(n) for n in range(len(values))], "answer": values})
        ended = convert("--dataset", parquet(tmp_path / "a.parquet", table))
        assert [row["response"] for row in ended.rows()] == texts

    def test_classes_are_written_by_name(self, convert: Convert, tmp_path: Path) -> None:
        features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
        stored = json.dumps({"info": {"features": features}}).encode()
        table = pa.table(
            {"text": [report(n) for n in range(COUNT)], "label": [n % 2 for n in range(COUNT)]}
        )
        table = table.append_column("other", pa.array([-1, 7] + [0] * (COUNT - 2)))
        path = parquet(
            tmp_path / "a.parquet", table.replace_schema_metadata({b"huggingface": stored})
        )
        ended = convert("--dataset", path)
        assert ended.code == 2
        assert has(ended.err, "label is the class of a text")
        (flags,) = remedies(ended.err)
        assert spoken(convert("--dataset", path, *flags)) == pairs(
            lambda n: (report(n), ["bad", "good"][n % 2])
        )

    def test_a_class_that_has_no_name_is_no_answer(self, convert: Convert, tmp_path: Path) -> None:
        features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
        stored = json.dumps({"info": {"features": features}}).encode()
        table = pa.table({"text": [report(n) for n in range(4)], "label": [1, -1, 2, 0]})
        path = parquet(
            tmp_path / "a.parquet", table.replace_schema_metadata({b"huggingface": stored})
        )
        ended = convert("--dataset", path, "--fields", "instruction=text,response=label")
        assert [row["response"] for row in ended.rows()] == ["good", "bad"]
        assert [row for _, row, _ in ended.rejects] == [2, 3]


class TestAnswersInColumns:
    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_squad(self, convert: Convert, tmp_path: Path, kind: str) -> None:
        made = rows(
            lambda n: {
                "id": f"q{n}",
                "title": "Bridges",
                "context": report(n),
                "question": question(n),
                "answers": {"text": [f"in {1900 + n}"], "answer_start": [n]},
            }
        )
        path = tmp_path / f"a.{kind}"
        lines(path, *made) if kind == "jsonl" else parquet(path, pa.Table.from_pylist(made))
        assert spoken(convert("--dataset", path)) == pairs(
            lambda n: (f"{report(n)}\n\n{question(n)}", f"in {1900 + n}")
        )

    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    @pytest.mark.parametrize("name", ["answer", "answers"])
    def test_lists_of_several(self, convert: Convert, tmp_path: Path, kind: str, name: str) -> None:
        made = rows(lambda n: {"question": question(n), name: [answer(n), answer(n + n % 2)]})
        path = tmp_path / f"a.{kind}"
        lines(path, *made) if kind == "jsonl" else parquet(path, pa.Table.from_pylist(made))
        ended = convert("--dataset", path)
        assert ended.code == 2
        assert has(ended.err, f"{name} holds several answers in 6 of the first 12 rows")
        first, reject = remedies(ended.err)
        assert spoken(convert("--dataset", path, *first)) == pairs(
            lambda n: (question(n), answer(n))
        )
        ended = convert("--dataset", path, *reject)
        assert ended.reasons == {"several-answers": 6}

    def test_a_list_of_several_that_comes_later_is_a_reject(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        made = rows(lambda n: {"question": question(n), "answers": [answer(n)]}, 510)
        made[505]["answers"] = ["one", "two"]
        made[506]["answers"] = []
        made[507]["answers"] = "plain text"
        made[508]["answers"] = [{"a": 1}]
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.rejects == [
            ("a.jsonl", 506, "several-answers"),
            ("a.jsonl", 507, "null-response"),
            ("a.jsonl", 509, "not-text"),
        ]
        assert spoken(ended)[505][1] == ("assistant", "plain text")

    @pytest.mark.parametrize("kind", ["json", "parquet"])
    def test_objects(self, convert: Convert, tmp_path: Path, kind: str) -> None:
        made = rows(
            lambda n: {
                "instruction": "Extract the fields.",
                "input": report(n),
                "output": {"year": 1900 + n, "place": "río", "size": {"w": n}},
            }
        )
        path = tmp_path / f"a.{kind}"
        if kind == "json":
            put(path, json.dumps(made))
        else:
            parquet(path, pa.Table.from_pylist(made))
        ended = convert("--dataset", path)
        assert ended.code == 2
        assert has(ended.err, "the answer output holds objects")
        prompts = [f"Extract the fields.\n\n{report(n)}" for n in range(COUNT)]
        texts = {
            "output": lambda n: json.dumps(made[n]["output"], ensure_ascii=False),
            "output.place": lambda n: "río",
            "output.size": lambda n: json.dumps({"w": n}),
            "output.year": lambda n: str(1900 + n),
        }
        for flags in remedies(ended.err):
            made_of = texts[flags[1].split("response=")[1]]
            assert spoken(convert("--dataset", path, *flags)) == pairs(
                lambda n, made_of=made_of: (prompts[n], made_of(n))
            )

    def test_reasoning_in_lists_is_kept_apart(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(lambda n: {"question": question(n), "answers": [f"<think>r{n}</think>a{n}"]})
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert [(row["reasoning"], row["response"]) for row in ended.rows()] == [
            (f"r{n}", f"a{n}") for n in range(COUNT)
        ]

    def test_objects_of_reasoning_and_answer_are_unpacked(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        made = rows(
            lambda n: {"q": question(n), "a": {"process": f"r{n}", "final_answer": f"a{n}"}}
        )
        path = lines(tmp_path / "a.jsonl", *made)
        ended = convert("--dataset", path, "--fields", "instruction=q,response=a", "--unpack-json")
        assert [(row["reasoning"], row["response"]) for row in ended.rows()] == [
            (f"r{n}", f"a{n}") for n in range(COUNT)
        ]

    def test_null_keys_of_a_json_object_stay(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(lambda n: {"q": question(n), "a": {"year": n, "owner": None}})
        path = lines(tmp_path / "a.jsonl", *made)
        ended = convert("--dataset", path, "--fields", "instruction=q,response=a")
        assert ended.rows()[0]["response"] == '{"year": 0, "owner": null}'


class TestRefusedShapes:
    @pytest.mark.parametrize(
        ("make", "right"),
        [
            (
                lambda n: {
                    "system": f"You know bridge {n}.",
                    "question": question(n),
                    "chosen": answer(n),
                    "rejected": "Go away.",
                },
                lambda n: [
                    ("system", f"You know bridge {n}."),
                    ("user", question(n)),
                    ("assistant", answer(n)),
                ],
            ),
            (
                lambda n: {
                    "rejected": [
                        {"role": "user", "content": question(n)},
                        {"role": "assistant", "content": "Go away."},
                    ],
                    "chosen": [
                        {"role": "user", "content": question(n)},
                        {"role": "assistant", "content": answer(n)},
                    ],
                },
                lambda n: [("user", question(n)), ("assistant", answer(n))],
            ),
            (
                lambda n: {
                    "prompt": [{"role": "user", "content": question(n)}],
                    "chosen": [{"role": "assistant", "content": answer(n)}],
                    "rejected": [{"role": "assistant", "content": "Go away."}],
                },
                lambda n: [("user", question(n)), ("assistant", answer(n))],
            ),
        ],
        ids=["texts", "whole turns", "prompt and turns"],
    )
    def test_preferences(
        self,
        convert: Convert,
        tmp_path: Path,
        make: Callable[[int], dict[str, Any]],
        right: Callable[[int], list[tuple[str, str]]],
    ) -> None:
        path = lines(tmp_path / "a.jsonl", *rows(make))
        ended = convert("--dataset", path)
        assert ended.code == 2
        assert has(
            ended.err, "chosen, rejected are the columns of preferences", "must not be trained"
        )
        (flags,) = remedies(ended.err)
        assert spoken(convert("--dataset", path, *flags)) == [right(n) for n in range(COUNT)]

    def test_translations(self, convert: Convert, tmp_path: Path) -> None:
        path = lines(
            tmp_path / "a.jsonl",
            *rows(lambda n: {"translation": {"en": question(n), "de": f"Wie {n}?"}}),
        )
        ended = convert("--dataset", path)
        assert has(ended.err, "translation holds translations")
        there, back = remedies(ended.err)
        assert spoken(convert("--dataset", path, *there)) == pairs(
            lambda n: (question(n), f"Wie {n}?")
        )
        assert spoken(convert("--dataset", path, *back)) == pairs(
            lambda n: (f"Wie {n}?", question(n))
        )

    @pytest.mark.parametrize(
        "make",
        [
            lambda n: {"premise": report(n), "hypothesis": answer(n), "label": n % 3},
            lambda n: {"question": question(n), "choices": ["a", "b"], "answer": n % 2},
            lambda n: {"question": question(n), "answer": answer(n), "response": report(n)},
            lambda n: {"text": report(n), "label": n % 3},
        ],
        ids=["NLI", "multiple choice", "two answers", "classes"],
    )
    def test_others_are_read_with_the_flags_that_they_name(
        self, convert: Convert, tmp_path: Path, make: Callable[[int], dict[str, Any]]
    ) -> None:
        path = lines(tmp_path / "a.jsonl", *rows(make))
        ended = convert("--dataset", path)
        assert ended.code == 2
        assert "cannot tell which columns" in ended.err
        found = remedies(ended.err)
        assert found
        for flags in found:
            assert len(convert("--dataset", path, *flags).rows()) == COUNT


class TestTrainingMarks:
    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("label", True, False),
            ("label", 1, 0),
            ("kto_tag", True, False),
            ("weight", 1, 0),
            ("weight", 0.5, 0.0),
            ("train", True, False),
            ("loss_mask", [1, 1], [0, 1]),
            ("label", "True", "False"),
        ],
    )
    @pytest.mark.parametrize("kind", ["jsonl", "parquet"])
    def test_are_never_ignored_in_silence(
        self, convert: Convert, tmp_path: Path, name: str, good: Any, bad: Any, kind: str
    ) -> None:
        def source(late: int, count: int) -> Path:
            made = rows(
                lambda n: {
                    "prompt": question(n),
                    "completion": answer(n),
                    name: bad if n >= late else good,
                },
                count,
            )
            path = tmp_path / f"{late}.{kind}"
            return (
                lines(path, *made) if kind == "jsonl" else parquet(path, pa.Table.from_pylist(made))
            )

        early = source(6, COUNT)
        ended = convert("--dataset", early)
        assert ended.code == 2
        assert has(ended.err, f"the column {name!r} marks rows", "row 7", "6 of the first 12 rows")
        (flags,) = remedies(ended.err)
        assert spoken(convert("--dataset", early, *flags)) == pairs(
            lambda n: (question(n), answer(n))
        )
        late = convert("--dataset", source(505, 510))
        assert late.rejects == [(f"505.{kind}", n, "marked-untrained") for n in range(506, 511)]
        assert late.plan.to_json()["fields"]["marks"] == (name,)

    def test_a_class_beside_a_pair_is_no_mark(self, read: Read) -> None:
        made = rows(lambda n: {"question": question(n), "answer": answer(n), "label": n % 3})
        assert spoken(read(made)) == pairs(lambda n: (question(n), answer(n)))

    def test_a_mark_that_is_the_answer_is_none(self, convert: Convert, tmp_path: Path) -> None:
        path = lines(tmp_path / "a.jsonl", *rows(lambda n: {"text": report(n), "label": n % 2}))
        ended = convert("--dataset", path, "--fields", "instruction=text,response=label")
        assert spoken(ended) == pairs(lambda n: (report(n), str(n % 2)))

    def test_explicit_fields_do_not_switch_them_off(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(lambda n: {"q": question(n), "a": answer(n), "weight": n % 2})
        path = lines(tmp_path / "a.jsonl", *made)
        fields = ("--fields", "instruction=q,response=a")
        assert convert("--dataset", path, *fields).code == 2
        assert convert("--dataset", path, *fields, "--ignore-training-marks").reasons == {}

    def test_beside_turns(self, convert: Convert, tmp_path: Path) -> None:
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        made: Rows = [{"messages": turns, "loss_mask": [1, 1]} for _ in range(510)]
        made[505]["loss_mask"] = [1, 0]
        made[506]["loss_mask"] = None
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.rejects == [("a.jsonl", 506, "marked-untrained")]
        ended = convert("--dataset", lines(tmp_path / "b.jsonl", *made[505:]))
        assert has(ended.err, "the column 'loss_mask' marks answers", "--ignore-training-marks")


class TestColumnsThatFillLater:
    def test_what_belongs_to_a_pair_is_used(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(
            lambda n: {"system": "", "query": question(n), "response": answer(n), "context": None},
            510,
        )
        made[505] |= {"system": "Be brief.", "context": report(505)}
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.reasons == {}
        assert spoken(ended)[505] == [
            ("system", "Be brief."),
            ("user", f"{report(505)}\n\n{question(505)}"),
            ("assistant", answer(505)),
        ]

    @pytest.mark.parametrize(
        ("name", "blank", "value", "code"),
        [
            ("rejected", None, "Go away.", "unplanned-column"),
            ("response", "", "Another answer.", "unplanned-column"),
            ("tools", [], [{"name": "f"}], "unplanned-column"),
            ("rejected", None, 5, "unplanned-column"),
            ("label", None, False, "marked-untrained"),
            ("label", "", "false", "marked-untrained"),
            ("weight", None, 0, "marked-untrained"),
        ],
    )
    def test_what_does_not_is_a_reject(
        self,
        convert: Convert,
        tmp_path: Path,
        name: str,
        blank: object,
        value: object,
        code: str,
    ) -> None:
        made = rows(lambda n: {"question": question(n), "answer": answer(n), name: blank}, 510)
        made[505][name] = value
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.rejects == [("a.jsonl", 506, code)]

    def test_a_mark_that_says_to_train_loses_no_row(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(lambda n: {"question": question(n), "answer": answer(n), "label": None}, 510)
        for n, value in enumerate((True, 1, "true", 0.5, False), start=505):
            made[n]["label"] = value
        path = lines(tmp_path / "a.jsonl", *made)
        assert convert("--dataset", path).rejects == [("a.jsonl", 510, "marked-untrained")]
        assert convert("--dataset", path, "--ignore-training-marks").reasons == {}

    def test_ignored_marks_are_told(self, convert: Convert, tmp_path: Path) -> None:
        made = rows(lambda n: {"question": question(n), "answer": answer(n), "label": n % 2 == 0})
        path = lines(tmp_path / "a.jsonl", *made)
        ended = convert("--dataset", path, "--ignore-training-marks")
        assert has(ended.plan.fields.hint, "the column 'label' marks 6 of the first 12 rows")

    @pytest.mark.parametrize("form", ["lines", "array"])
    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [
            ("input", report(505), "unplanned-column"),
            ("System_Prompt", "Be brief.", None),  # the other columns are spelled without capitals
            ("system", "Be brief.", "unplanned-column"),
            ("history", [["Hi", "Hello"]], "unplanned-column"),
            ("rejected", {"text": "Go away."}, "unplanned-column"),
            ("input", "", None),
            ("system", None, None),
            ("label", False, "marked-untrained"),
            ("label", True, None),
            ("weight", 0, "marked-untrained"),
            ("colour", "red", None),
        ],
    )
    def test_a_key_that_no_row_of_the_sample_has_is_not_dropped(
        self, convert: Convert, tmp_path: Path, form: str, name: str, value: object, code: str
    ) -> None:
        made = rows(lambda n: {"instruction": question(n), "output": answer(n)}, 510)
        made[505][name] = value
        path = lines(tmp_path / "a.jsonl", *made)
        if form == "array":
            path = put(tmp_path / "a.json", json.dumps(made))
        ended = convert("--dataset", path)
        assert ended.reasons == ({code: 1} if code else {})
        assert len(ended.texts()) == (509 if code else 510)

    @pytest.mark.parametrize(
        ("columns", "name"),
        [
            (("Instruction", "Output"), "Input"),
            (("Instruction", "Output"), "System_Prompt"),
            (("Instruction", "Output"), "SystemPrompt"),
            (("Question Text", "Answer Text"), "System Prompt"),
            (("INSTRUCTION", "OUTPUT"), "SYSTEM"),
            (("userPrompt", "assistantResponse"), "systemPrompt"),
            (("user-prompt", "assistant-response"), "system-prompt"),
        ],
    )
    def test_such_a_key_may_be_spelled_as_the_other_columns_are(
        self, convert: Convert, tmp_path: Path, columns: tuple[str, str], name: str
    ) -> None:
        made = rows(lambda n: dict(zip(columns, (question(n), answer(n)), strict=True)), 510)
        made[505][name] = "Be brief."
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.reasons == {"unplanned-column": 1}

    def test_fields_may_name_a_key_that_the_sample_does_not_have(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        made = rows(lambda n: {"instruction": question(n), "output": answer(n)}, 510)
        made[505] |= {"system": "Be brief.", "input": report(505)}
        path = lines(tmp_path / "a.jsonl", *made)
        fields = "instruction=instruction+input,response=output,system=system"
        ended = convert("--dataset", path, "--fields", fields)
        assert ended.reasons == {}
        assert "Be brief." in ended.texts()[505]
        assert report(505) in ended.texts()[505]
        assert "Report" not in ended.texts()[504]

    def test_marks_that_come_late_are_trained_on_if_they_are_ignored(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        made = rows(lambda n: {"question": question(n), "answer": answer(n)}, 510)
        made[505]["label"] = False
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made), "--ignore-training-marks")
        assert ended.reasons == {}

    def test_tools_that_are_not_rendered_are_not_watched(
        self, convert: Convert, tmp_path: Path
    ) -> None:
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        made: Rows = [{"messages": turns, "tools": []} for _ in range(510)]
        made[505]["tools"] = [{"name": "f"}]
        ended = convert("--dataset", lines(tmp_path / "a.jsonl", *made))
        assert ended.reasons == {}
        assert "add --tools" in ended.plan.fields.hint
