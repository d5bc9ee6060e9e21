"""Configuration files: what a run says of itself prepares the same set again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_runs import lines, put
from made_reports import made_manifest
from made_tokenizers import byte_bpe

from pipeline.cli.config_file import DECIDE_BYTES, GATES
from pipeline.cli.main import main, parse
from pipeline.planning.foreign_names import NAMING_KEYS
from pipeline.planning.plan import make_plan
from pipeline.planning.plan_flags import config_of
from pipeline.request import Request
from transforms.declaration import options_of
from transforms.errors import UsageError

ROWS = [
    {
        "conversations": [
            {"from": "human", "value": f"What is {n}?"},
            {"from": "sage", "value": f"It is {n}."},
        ],
        "q": f"Q {n}?",
        "a": f"A {n}.",
    }
    for n in range(30)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


WORDS = [
    ("--role", "sage=assistant", "--template", "qwen3", "--think", "strip", "--val-size", "0.25"),
    ("--fields", "instruction=q,response=a", "--system-prompt", 'Be\n"kind" ü.', "--seed", "7"),
    ("--role", "sage=gpt_", "--fields", "instruction=q+a,response=a", "--columns", "messages"),
    ("--role", "sage=assistant", "--split-key", "q", "--max-samples", "9", "--shard-size", "2MiB"),
    (
        *("--fields", "instruction=q,response=a", "--dedup", "near", "--contaminated", "drop"),
        *("--decontaminate", "one.jsonl", "--decontaminate", "two.jsonl", "--balance", "q"),
        *("--balance", "a", "--tokenizer", "tokenizer.json", "--max-tokens", "999"),
        *("--too-long", "truncate-response", "--max-reject-rate", "1", "--max-duplicates", "1"),
        *("--max-leakage", "0.5", "--max-truncated", "0.25", "--min-validation", "1"),
    ),
]
WORDS[2] = WORDS[2][2:]


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request may name beside its rows lies where the command runs."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "tokenizer.json", byte_bpe())
    for name in ("one", "two"):
        lines(tmp_path / f"{name}.jsonl", {"prompt": f"this is the prompt {name} " * 3})


@pytest.mark.parametrize("words", WORDS)
def test_what_is_saved_gives_the_same_plan(
    source: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    kept = tmp_path / "run.toml"
    words = ("plan", "--dataset", str(source), *words)
    assert main([*words, "--save-config", str(kept)]) == 0
    _, _, given = parse(words)
    _, _, read = parse(["plan", "--config-file", str(kept)])
    assert read == given
    assert make_plan(read).digest == make_plan(given).digest
    assert main(["plan", "--config-file", str(kept), "--save-config", str(tmp_path / "2")]) == 0
    assert (tmp_path / "2").read_bytes() == kept.read_bytes()


def manifest(path: Path, **changes: object) -> Path:
    """A whole manifest, of which ``changes`` replace keys."""
    path.write_text(json.dumps(made_manifest(files=[], **changes)))
    return path


FILES = ("--dataset", "--tokenizer", "--decontaminate")


@pytest.mark.parametrize("words", WORDS)
def test_the_manifest_s_config_gives_the_same_plan(
    source: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    words = ("--dataset", str(source), *words)
    _, _, given = parse(words)
    plan = make_plan(given)
    config = config_of(given, plan)
    assert config.keys() <= DECIDE_BYTES
    path = manifest(tmp_path / "manifest.json", config=config)
    # Files of this machine are named by its user alone.
    again = [word for n, word in enumerate(words) if words[n - 1] in FILES or word in FILES]
    _, _, read = parse(["--config-file", str(path), *again])
    assert make_plan(read).digest == plan.digest
    with pytest.raises(UsageError, match="names what may be files of this machine"):
        parse(["--config-file", str(path)])


HOME_FILES = (
    *("~/.aws/sso/cache/*.json", "/etc/passwd", "../secret.jsonl", "*.jsonl", "there.jsonl"),
    *(
        "user/there",
        "./user/name",
        ".hidden",
        "",
        " ",
        "a\0b",
        "https://user:PW@host/x",
        "s3://b/x",
    ),
    *("user/name/more", "x" * 5000, "hub:user/name", "file:///etc/passwd", "\u202egpj.exe"),
)


class TestFiles:
    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        lines(tmp_path / "there.jsonl", {"question": "a", "answer": "b"})
        lines(tmp_path / "user" / "there", {"question": "a", "answer": "b"})

    @pytest.mark.parametrize("name", HOME_FILES)
    @pytest.mark.parametrize("key", ["dataset", "decontaminate", "tokenizer", "template"])
    def test_a_manifest_names_no_file_of_this_machine(
        self, tmp_path: Path, key: str, name: str
    ) -> None:
        if name == "hub:user/name" and key in ("tokenizer", "template"):
            pytest.skip("a name of the hub")
        value = [name] if key == "decontaminate" else name
        path = manifest(tmp_path / "m.json", config={"seed": 3, key: value})
        with pytest.raises(UsageError) as caught:
            parse(["--config-file", str(path)])
        assert f"{key} {name!r}" in str(caught.value)
        assert f"--{key} " in str(caught.value)
        given = [f"--{key}", "mine"]
        assert parse(["--config-file", str(path), *given])[2].seed == 3

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            *[("dataset", name) for name in ("user/name", "squad", "a-b/c.d_e")],
            *[("template", name) for name in ("qwen3", "hub:user/name")],
            *[("tokenizer", name) for name in ("hub:user/name", "user/name")],
            ("decontaminate", ["user/name", "user/name,config=main,split=test,revision=f00"]),
            ("decontaminate", []),
        ],
    )
    def test_names_of_the_hub_pass(self, tmp_path: Path, key: str, value: object) -> None:
        path = manifest(tmp_path / "m.json", config={key: value})
        read = getattr(parse(["--config-file", str(path)])[2], key)
        assert (list(read) if isinstance(value, list) else read) == value

    def test_one_file_among_names_of_the_hub_is_refused(self, tmp_path: Path) -> None:
        path = manifest(tmp_path / "m.json", config={"decontaminate": ["user/name", "there.jsonl"]})
        with pytest.raises(UsageError, match=r"decontaminate 'there.jsonl'\)"):
            parse(["--config-file", str(path)])

    def test_a_toml_file_of_the_user_s_own_keeps_its_paths(self, tmp_path: Path) -> None:
        path = tmp_path / "run.toml"
        path.write_text('dataset = "there.jsonl"\ntokenizer = "~/tokenizer.json"\n')
        read = parse(["--config-file", str(path)])[2]
        assert (read.dataset, read.tokenizer) == ("there.jsonl", "~/tokenizer.json")

    def test_every_option_that_names_a_file_is_known(self) -> None:
        naming = {
            one.key
            for one in options_of(Request)
            if one.decides_bytes and {"PATH", "FILE", "DIR"} & {*re.split(r"\W", one.metavar)}
        }
        assert naming == NAMING_KEYS


def test_the_limits_of_a_manifest_are_kept_and_warnings_are_none(tmp_path: Path) -> None:
    gates = [
        {"gate": "--max-leakage", "limit": 0.5, "found": 0.0, "result": "passed", "sentence": ""},
        {"gate": "--max-duplicates", "limit": 0, "found": 0.0, "result": "passed", "sentence": ""},
        {"gate": "--max-truncated", "limit": None, "found": 0.0, "result": "passed"},
        {"gate": "--min-validation", "limit": 100, "found": 3, "result": "warning"},
    ]
    run = {"gates": [{"sentence": "", **gate} for gate in gates]}
    path = manifest(tmp_path / "manifest.json", config={"max-samples": 3}, run=run)
    _, _, read = parse(["--config-file", str(path)])
    assert (read.max_leakage, read.max_duplicates, read.max_truncated) == (0.5, 0.0, None)
    assert (read.min_validation, read.max_samples) == (None, 3)


@pytest.mark.parametrize("run", [None, {}, {"gates": []}])
def test_a_manifest_may_have_no_gates(tmp_path: Path, run: object) -> None:
    path = manifest(tmp_path / "manifest.json", config={"seed": 3}, run=run)
    assert parse(["--config-file", str(path)])[2].seed == 3


@pytest.mark.parametrize(
    "key", ["s3-bucket", "endpoint-url", "output", "overwrite", "max-leakage", "no-flag"]
)
def test_a_manifest_sets_nothing_but_what_decides_the_bytes(tmp_path: Path, key: str) -> None:
    path = manifest(tmp_path / "manifest.json", config={"seed": 3, key: "x"})
    with pytest.raises(UsageError, match=f"the manifest's config sets {key}; expected only"):
        parse(["--config-file", str(path)])


def test_of_a_manifest_s_gates_only_the_limits_are_taken(tmp_path: Path) -> None:
    names = ("--s3-bucket", "--output", "--seed", "--max-leakage")
    verdict = {"limit": 1, "found": 0, "result": "passed", "sentence": ""}
    gates = [{"gate": name, **verdict} for name in names]
    path = manifest(tmp_path / "manifest.json", config={}, run={"gates": gates})
    assert parse(["--config-file", str(path)])[2] == parse(["--max-leakage", "1"])[2]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"run": {"gates": [{"gate": "--max-leakage", "limit": "x"}]}}, "$.run.gates[0].limit"),
        ({"run": {"gates": 5}}, "$.run.gates"),
        ({"config": [1]}, "$.config"),
        ({"counts": "x"}, "$.counts"),
        ({"format_version": 9}, "format version 9"),
        ({"plan_digest": None}, "$.plan_digest"),
    ],
)
def test_a_manifest_is_read_as_strictly_as_anywhere(
    tmp_path: Path, change: dict[str, object], place: str
) -> None:
    path = manifest(tmp_path / "manifest.json", **change)
    with pytest.raises(UsageError) as caught:
        parse(["--config-file", str(path)])
    assert place in str(caught.value)


def test_a_manifest_without_a_config_is_refused(tmp_path: Path) -> None:
    path = manifest(tmp_path / "manifest.json", config=None)
    with pytest.raises(UsageError, match="is a manifest without a config"):
        parse(["--config-file", str(path)])


def test_whole_numbers_are_shares_too(tmp_path: Path) -> None:
    kept = tmp_path / "run.toml"
    kept.write_text("".join(f"{gate} = 1\n" for gate in GATES))
    _, _, read = parse(["--config-file", str(kept)])
    shares = (read.max_reject_rate, read.max_duplicates, read.max_leakage, read.max_truncated)
    assert shares == (1.0, 1.0, 1.0, 1.0)
    assert {type(share) for share in shares} == {float}
    assert (type(read.min_validation), read.min_validation) == (int, 1)


def test_the_command_line_goes_before_the_file(source: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run.toml"
    kept.write_text(f'dataset = "{source}"\nval-size = 1\nseed = 3\ntools = true\n')
    _, _, read = parse(["--config-file", str(kept), "--seed", "5"])
    assert (read.val_size, read.seed, read.tools, read.dataset) == (1.0, 5, True, str(source))


def test_lists_of_the_command_line_replace_those_of_the_file(source: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run.toml"
    kept.write_text(f'dataset = "{source}"\nrole = ["a=user"]\nbalance = ["one"]\n')
    words = ["--config-file", str(kept), "--balance", "two", "--balance", "three"]
    _, _, read = parse(words)
    assert (read.balance, read.roles) == (("two", "three"), ("a=user",))
    _, _, again = parse(words)  # nothing of it stays in the parser
    assert again.balance == ("two", "three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val_siz = 1", "unknown key 'val_siz'; did you mean val-size?"),
        ("val-size = '1'", "val-size must be a number, found '1'"),
        ("seed = 1.5", "seed must be a whole number, found 1.5"),
        ("seed = true", "seed must be a whole number, found True"),
        ("tools = 'yes'", "tools must be true or false, found 'yes'"),
        ("role = 'a=user'", "role must be a list of texts, found 'a=user'"),
        ("role = [1]", "role must be a list of texts, found [1]"),
        ("think = 'hard'", "--think must be one of auto, keep, strip, empty, found 'hard'"),
        ("max-duplicates = '1'", "max-duplicates must be a number, found '1'"),
        ("max-leakage = true", "max-leakage must be a number, found True"),
        ("max-truncated = [0.1]", "max-truncated must be a number, found [0.1]"),
        ("min-validation = 1.5", "min-validation must be a whole number, found 1.5"),
        ("max-tokens = '9'", "max-tokens must be a whole number, found '9'"),
        ("decontaminate = 'a'", "decontaminate must be a list of texts, found 'a'"),
        ("balance = [1]", "balance must be a list of texts, found [1]"),
        ("dedup = 'some'", "--dedup must be one of exact, off, near, found 'some'"),
        ("val-size = 1e400", "--val-size must be between 0 and 1, found inf"),
        (f"val-size = {10**400}", "val-size must be a number that a float can hold"),
        ("quiet = true", "unknown key 'quiet'"),
        ("config-file = 'x'", "unknown key 'config-file'"),
        ("dataset =", "is neither TOML nor a manifest"),
        ('{"plan": {}}', "is neither TOML nor a manifest"),
        ("{", "is neither TOML nor a manifest"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse(["--config-file", str(path)])
    assert said in str(caught.value)


def test_files_that_cannot_be_read_or_written(tmp_path: Path, source: Path) -> None:
    assert main(["--config-file", str(tmp_path / "none.toml")]) == 2
    words = ["plan", "--dataset", str(source), "--role", "sage=assistant"]
    assert main([*words, "--save-config", str(tmp_path / "none" / "run.toml")]) == 2
