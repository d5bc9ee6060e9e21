"""No message repeats a password or a token that was typed into an address, whatever the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli.main import main

CANARY = "PWcanary5e1f"
FORMS = (
    *("https://user:{}@h/x", "http:\\\\user:{}@h", "user:{}@h", "https://h/user:{}@x"),
    *("https://h/?token={}", "https://h/#{}", "s3://user:{}@b/x", "s3://b/x?token={}"),
    *("https://{}@h", "file://user:{}@h/x.jsonl"),
)
FLAGS = (
    *("--dataset", "--decontaminate", "--template", "--tokenizer", "--output"),
    *("--s3-bucket", "--endpoint-url", "--resume", "--config-file", "--save-config"),
)
VERBS = ("verify", "status", "report", "upload", "download", "list", "prune", "diff")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"question": "a?", "answer": "b"}\n' * 3)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flag", FLAGS)
def test_by_a_flag(flag: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    value = form.format(CANARY)
    words = [] if flag == "--dataset" else ["--dataset", "rows.jsonl"]
    if flag != "--s3-bucket":
        words = ["plan", *words]
    code = main([*words, flag, value])
    told = "".join(capfd.readouterr())
    # As the name of a new folder or file some of them are good, and not told.
    assert code == 2 or flag in ("--output", "--save-config", "--resume"), told
    assert told
    assert CANARY not in told


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("verb", VERBS)
def test_by_an_argument(verb: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    value = form.format(CANARY)
    words = [verb, value]
    if verb in ("upload", "diff"):
        words.append(value)
    if verb == "prune":
        words += ["--keep", "1"]
    code = main([*words, "--json"])
    told = "".join(capfd.readouterr())
    assert code == 2, told
    assert CANARY not in told


@pytest.mark.parametrize("form", ["user:{}@h:9000", "h/?token={}", "http//user:{}@h", "://{}@h"])
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_by_the_environment(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, form.format(CANARY))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert main(["list", "s3://bucket/sets/", "--json"]) == 2
    told = "".join(capfd.readouterr())
    assert "AWS_ENDPOINT_URL_S3" in told
    assert CANARY not in told


@pytest.mark.parametrize(
    "value",
    [
        '{"command": "x", "env": {"HF_TOKEN": "%s"}}',
        '{"command":"x","env":{"A":"b","aws_secret_access_key":"%s"}}',
        "process_command=x,process_variables=MY_PASSWORD=%s",
        "https://user:%s@registry.example/image",
    ],
)
@pytest.mark.parametrize("flag", ["--environment_config", "--environment_options"])
@pytest.mark.parametrize("apart", [True, False])
def test_secrets_for_workers_are_refused(
    flag: str, value: str, apart: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    given = value % CANARY
    words = [flag, given] if apart else [f"{flag}={given}"]
    assert main(["--dataset", "rows.jsonl", "--skip-upload", *words]) == 2
    told = "".join(capfd.readouterr())
    assert f"{flag} would show" in told
    assert CANARY not in told


@pytest.mark.parametrize(
    "value",
    ['{"command": "/opt/boot", "env": {"LANG": "C"}}', "registry.example:5000/image:1", "h:5000"],
)
def test_other_settings_of_workers_pass(value: str) -> None:
    from pipeline.cli.beam_flags import check

    check([f"--environment_config={value}", "--environment_type=PROCESS"], [])
