"""The command line as a parser: flags, their values, and the sentence for each wrong one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pipeline.cli import flags
from pipeline.cli.dataset_flags import ARGUMENTS, Download, Prune, Upload, dataset_parser
from pipeline.cli.main import parse, parse_on_set
from pipeline.request import DEFAULT_OUTPUT, Request
from transforms.declaration import options_of
from transforms.errors import UsageError
from transforms.storage.s3.uri import S3Options


def refusal(*argv: str) -> str:
    """The sentence with which a command line is refused."""
    with pytest.raises(UsageError) as caught:
        (parse_on_set if argv[0] in flags.DATASET_COMMANDS else parse)(argv)
    assert caught.value.exit_code == 2
    return str(caught.value)


class TestRequest:
    def test_defaults_are_those_of_the_script_that_this_job_replaces(self) -> None:
        command, call, request = parse([])
        assert command == "prepare"
        assert call == flags.Call()
        assert not call.json
        assert request == Request()
        assert request.dataset == "TuringEnterprises/Turing-Open-Reasoning"
        assert request.s3_bucket == "reasonforge-datasets-dev-071909720457"
        assert request.output == "data_cache/processed_reasoning"
        assert (request.val_size, request.seed, request.max_samples) == (0.1, 42, None)

    def test_every_flag_reaches_the_request(self) -> None:
        argv = [
            *("--dataset", "a.jsonl", "--config", "c", "--split", "s", "--revision", "r"),
            *("--max-samples", "7", "--fields", "f", "--val-size", "0.2", "--seed", "3"),
            *("--split-key", "k", "--output", "o", "--overwrite", "--shard-size", "2MiB"),
            *("--max-reject-rate", "0.5", "--s3-bucket", "bucket", "--skip-upload"),
            *("--direct_num_workers=2", "--system-prompt", ""),
        ]
        assert parse(argv)[2] == Request(
            dataset="a.jsonl",
            config="c",
            split="s",
            revision="r",
            max_samples=7,
            fields="f",
            system_prompt="",
            val_size=0.2,
            seed=3,
            split_key="k",
            output="o",
            overwrite=True,
            shard_size=2 * 2**20,
            max_reject_rate=0.5,
            s3_bucket="bucket",
            skip_upload=True,
            beam_args=("--direct_num_workers=2",),
        )

    def test_each_field_has_one_flag(self) -> None:
        declared = [one.flag for one in options_of(Request)]
        assert len(declared) == len(set(declared))
        plain = {one.name for one in fields(Request)} - {"s3", "beam_args"}
        inner = {one.name for one in fields(S3Options)}
        assert {one.name for one in options_of(Request)} == plain | inner

    @pytest.mark.parametrize("one", options_of(Request), ids=lambda one: one.key)
    def test_the_help_shows_each_flag_with_its_default(self, one: flags.Option) -> None:
        command = one.commands[0] if one.commands else "prepare"
        text = " ".join(flags.prepare_parser(command).format_help().split()).replace("- ", "-")
        assert f"{one.flag} " in text
        assert "".join(one.help.split()) in text.replace(" ", "")
        default = f"(default: {one.shown_default})"
        assert one.is_switch or default.replace(" ", "") in text.replace(" ", "")

    def test_repeated_flags_are_collected(self) -> None:
        argv = ["--role", "a=user", "--role", "b=tool", "--balance", "x"]
        request = parse(argv)[2]
        assert (request.roles, request.balance) == (("a=user", "b=tool"), ("x",))
        assert request.decontaminate == ()

    def test_none_is_no_system_prompt(self) -> None:
        assert parse(["--system-prompt", "none"])[2].system_prompt == ""
        assert parse(["--system-prompt", "None of it"])[2].system_prompt == "None of it"

    def test_s3_is_one_field(self) -> None:
        argv = [
            *("--endpoint-url", "http://localhost:1", "--region", "r", "--profile", "p"),
            *("--expected-bucket-owner", "1", "--sse", "aws:kms", "--sse-kms-key-id", "k"),
            *("--request-checksum-calculation", "when_required"),
        ]
        options = S3Options("http://localhost:1", "r", "p", "1", "aws:kms", "k", "when_required")
        assert parse(argv)[2].s3 == options
        assert parse_on_set(["list", "s3://bucket/x", *argv])[3] == options
        assert options.flags() == argv
        assert S3Options().flags() == []

    @pytest.mark.parametrize("command", ["plan", "preview"])
    def test_what_writes_nothing_uploads_nothing(self, command: str) -> None:
        assert parse([command])[2].skip_upload
        assert not parse(["submit"])[2].skip_upload

    def test_resume_takes_the_output(self) -> None:
        request = parse(["--resume", "one"])[2]
        assert (request.output, request.resume) == ("one", True)
        assert parse(["--resume", "one", "--output", "one"])[2] == request
        assert (parse([])[2].output, parse([])[2].resume) == (DEFAULT_OUTPUT, False)
        found = refusal("--resume", "one", "--output", "two")
        assert found == "--resume one and --output two are two places; give only --resume"

    def test_some_flags_are_of_one_command(self) -> None:
        assert parse(["submit", "--detach"])[2].detach
        _, call, _ = parse(["preview", "-n", "5", "--rejected"])
        assert (call.n, call.rejected) == (5, True)
        assert parse(["preview"])[1].n == 3
        assert refusal("preview", "-n", "0") == "-n must be at least 1, found 0"
        assert "unknown '--detach'" in refusal("plan", "--detach")
        assert "unknown '--rejected'" in refusal("--rejected")


class TestWrongFlags:
    @pytest.mark.parametrize(
        ("argv", "part"),
        [
            (["--val-sze", "0.2"], "did you mean --val-size?"),
            (["--max-sample=5"], "did you mean --max-samples?"),
            (["--direct_num_worker=2"], "did you mean --direct_num_workers?"),
            (["pln"], "did you mean plan?"),
            (["--val-size", "lots"], "--val-size"),
            (["--s3_secret_access_key=abc"], "environment"),
            (["--direct_num_workers=two"], "Apache Beam does not take this"),
            (["verify"], "the following arguments are required: PATH-OR-URI"),
            (["prune", "s3://bucket/x"], "the following arguments are required: --keep"),
            (["verify", "x", "--quik"], "unrecognized arguments: --quik"),
        ],
    )
    def test_are_named_with_a_remedy(self, argv: list[str], part: str) -> None:
        found = refusal(*argv)
        assert part in found
        assert "abc" not in found

    @pytest.mark.parametrize(
        ("word", "nearest"),
        [
            ("--val-sise=0.2", "--val-size"),
            ("--max_samples=3", "--max-samples"),
            ("--skip-uploads", "--skip-upload"),
            ("--field=a", "--fields"),
            ("--direct_num_wrokers=2", "--direct_num_workers"),
        ],
    )
    def test_a_typo_is_named_with_the_nearest_flag(self, word: str, nearest: str) -> None:
        found = refusal(word)
        assert word.split("=")[0] in found
        assert f"did you mean {nearest}?" in found

    @pytest.mark.parametrize(
        "flag",
        [
            *("--s3_secret_access_key", "--s3_access_key_id", "--s3_session_token"),
            "--azure_connection_string",
        ],
    )
    @pytest.mark.parametrize("joined", [True, False])
    def test_a_secret_is_not_repeated(self, flag: str, joined: bool) -> None:
        found = refusal(*([f"{flag}=canary-5fd1"] if joined else [flag, "canary-5fd1"]))
        assert f"{flag} would show a secret on the runner's pages" in found
        assert "environment variables" in found
        assert "canary" not in found


class TestWrongValues:
    @pytest.mark.parametrize(
        ("flag", "value", "part"),
        [
            ("--val-size", "nan", "--val-size must be between 0 and 1, found nan"),
            ("--val-size", "inf", "--val-size must be between 0 and 1, found inf"),
            ("--val-size", "-0.1", "--val-size must be between 0 and 1, found -0.1"),
            ("--val-size", "1.5", "--val-size must be between 0 and 1, found 1.5"),
            ("--val-size", "10%", "--val-size: invalid float"),
            ("--max-samples", "0", "--max-samples must be at least 1, found 0"),
            ("--max-samples", "-5", "--max-samples must be at least 1, found -5"),
            ("--max-samples", "1.5", "--max-samples: invalid int"),
            ("--max-reject-rate", "2", "--max-reject-rate must be between 0 and 1"),
            ("--max-reject-rate", "nan", "--max-reject-rate must be between 0 and 1"),
            ("--max-duplicates", "1.5", "--max-duplicates must be between 0 and 1, found 1.5"),
            ("--max-leakage", "nan", "--max-leakage must be between 0 and 1, found nan"),
            ("--max-truncated", "-0.1", "--max-truncated must be between 0 and 1, found -0.1"),
            ("--min-validation", "-1", "--min-validation must be at least 0, found -1"),
            ("--max-tokens", "0", "--max-tokens must be at least 1, found 0"),
            ("--start-timeout", "0", "--start-timeout must be a number of seconds above 0"),
            ("--stall-timeout", "nan", "--stall-timeout must be a number of seconds above 0"),
            ("--stall-timeout", "inf", "--stall-timeout must be a number of seconds above 0"),
            ("--seed", "x", "--seed: invalid int"),
            ("--shard-size", "0", "--shard-size must be between 1MiB and 1GiB, found 0"),
            ("--shard-size", "1", "--shard-size must be between 1MiB and 1GiB, found 1"),
            ("--shard-size", "-1MiB", "expected for example 64MiB"),
            ("--shard-size", "100G", "--shard-size must be between 1MiB and 1GiB"),
            ("--shard-size", "9" * 400, "is too large"),
            ("--shard-size", "64 apples", "expected for example 64MiB"),
            ("--shard-size", "many", "no size"),
            ("--template-date", "today", "--template-date must be a day as YYYY-MM-DD"),
            ("--template-date", "20250101", "--template-date must be a day as YYYY-MM-DD"),
            ("--template-date", "2025-02-30", "--template-date must be a day as YYYY-MM-DD"),
            ("--think", "", "--think must be one of auto, keep, strip, empty, found ''"),
            ("--bos", "Keep", "--bos must be drop or keep, found 'Keep'"),
            ("--dataset", " ", "--dataset must name a hub data set or a local file, found ' '"),
            ("--dataset", "b\udcff.jsonl", "--dataset must be valid text (UTF-8)"),
            ("--system-prompt", "\udcff", "--system-prompt must be valid text (UTF-8)"),
            ("--output", "o\udcff", "--output must be valid text (UTF-8)"),
            ("--role", "\udcff=user", "--role must be valid text (UTF-8)"),
            ("--output", "", "--output is empty"),
            ("--output", "gs://b/a", "--output gs://b/a is an address, expected a local folder"),
            ("--output", "file:///x", "--output file:///x is an address, expected a local folder"),
        ],
    )
    def test_are_refused(self, flag: str, value: str, part: str) -> None:
        assert part in refusal(f"{flag}={value}")

    @pytest.mark.parametrize(
        "name",
        [
            *("", "ab", "b", "Upper-Case", "Bucket", "s3://bucket", "a/b", "buc/ket", "a b"),
            *("ü-ber", "ü-b", "ab-", "a..b", "a" * 64),
        ],
    )
    def test_a_bucket_that_is_none(self, name: str) -> None:
        found = refusal("--output", "new/set", "--s3-bucket", name)
        assert found.startswith(f"--s3-bucket {name!r} names no bucket")
        assert "3 to 63 lower-case" in found
        assert not Path("new").exists()


class TestWrongS3Flags:
    COMMANDS = (
        ("upload", "set", "s3://bucket/set"),
        ("--dataset", "rows.jsonl", "--output", "s3://bucket/set"),
        ("download", "s3://bucket/set", "copy"),
    )

    @pytest.mark.parametrize("command", COMMANDS, ids=["upload", "prepare", "download"])
    @pytest.mark.parametrize(
        ("argv", "part"),
        [
            (["--sse", "AES128"], "--sse must be AES256 or aws:kms, found 'AES128'"),
            (["--sse", ""], "--sse must be AES256 or aws:kms, found ''"),
            (["--sse-kms-key-id", "k"], "--sse-kms-key-id needs --sse aws:kms"),
            (["--sse", "AES256", "--sse-kms-key-id", "k"], "needs --sse aws:kms"),
            (
                ["--expected-bucket-owner", "1 2"],
                "--expected-bucket-owner must be an account number, found '1 2'",
            ),
            (
                ["--expected-bucket-owner", ""],
                "--expected-bucket-owner must be an account number, found ''",
            ),
            (
                ["--request-checksum-calculation", "never"],
                "must be when_supported or when_required",
            ),
        ],
    )
    def test_are_refused(self, command: tuple[str, ...], argv: list[str], part: str) -> None:
        assert part in refusal(*command, *argv)

    @pytest.mark.parametrize("command", COMMANDS, ids=["upload", "prepare", "download"])
    @pytest.mark.parametrize(
        "url", ["localhost:9000", "ftp://x", "s3://x", "http://k:canary@host", "http://", "//x"]
    )
    def test_an_endpoint_that_is_none(self, command: tuple[str, ...], url: str) -> None:
        found = refusal(*command, "--endpoint-url", url)
        assert found.startswith("--endpoint-url ")
        assert "expected https://HOST or http://HOST:PORT, without a user or password" in found
        assert "canary" not in found


class TestCommandsOnSets:
    def test_arguments_are_typed(self) -> None:
        given = ["upload", "set", "s3://bucket/x", "--resume", "--json"]
        command, arguments, printing, options = parse_on_set(given)
        assert (command, arguments) == ("upload", Upload("set", "s3://bucket/x", resume=True))
        assert (printing, options) == (flags.Printing(json=True), S3Options())
        assert parse_on_set(["download", "s3://b/x"])[1] == Download("s3://b/x")
        assert parse_on_set(["download", "s3://b/x", "copy"])[1] == Download("s3://b/x", "copy")
        assert parse_on_set(["prune", "s3://b/x", "--keep", "2"])[1] == Prune("s3://b/x", 2)

    @pytest.mark.parametrize("command", flags.DATASET_COMMANDS)
    def test_the_help_says_what_the_command_does(self, command: str) -> None:
        text = " ".join(dataset_parser(command).format_help().split())
        documented = ARGUMENTS[command].__doc__
        assert documented and " ".join(documented.split()) in text
        for one in options_of(ARGUMENTS[command]):
            assert "".join(one.help.split()) in text.replace(" ", "")
