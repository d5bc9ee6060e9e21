"""What a user typed is shown without a user, a password and a token, in whatever form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.text.addresses import shown_address, without_credentials, without_passwords

SECRETS = (
    "https://user:PW@host/x",
    "https://PW@host/x",
    "http://user:PW@h",
    "HTTPS://user:PW@host:9000",
    "s3://user:PW@bucket/x",
    "s3:/user:PW@bucket/x",
    r"http:\\user:PW@h",
    "http://h/user:PW@x",
    "http://u:a/b:PW@h/c",
    "http://u:PW@x@h",
    "user:PW@h",
    "user:PW@h/a/b",
    "a/user:PW@h",
    "hdfs://user:PW@h:8020/x",
    "https://host/x?token=PW",
    "https://host/?token=PW",
    "https://host/#PW",
    "https://host?X-Amz-Signature=PW&a=b",
    "ftp://user:PW@host",
    "postgresql+psycopg://user:PW@host/db",
)


@pytest.mark.parametrize("address", SECRETS)
def test_a_secret_is_not_shown(address: str) -> None:
    assert "PW" not in shown_address(address)
    assert "PW" not in shown_address(address, is_address=True)
    assert "…" in shown_address(address)


@pytest.mark.parametrize("address", ["user:PW@h", "PW@h", "h/?token=PW", "h#PW", "u:P@PW@h:90/x"])
def test_a_secret_of_an_address_without_a_scheme_is_not_shown(address: str) -> None:
    assert "PW" not in shown_address(address, is_address=True)


@pytest.mark.parametrize(
    "name",
    [
        *("user/name", "rows.jsonl", "data/*.jsonl", "data/part-?.jsonl", "a@b/c", "v1@2024/x.csv"),
        *("s3://bucket/prefix", "https://host:9000/a/b", "C:/data/x.csv", "#1.jsonl", "a:b", "…"),
        *("s3://bucket/run@2024", "user/name,config=main,split=test", "hub:user/name", "~/x"),
    ],
)
def test_names_and_addresses_without_secrets_are_shown_as_they_are(name: str) -> None:
    assert shown_address(name) == name


def test_the_place_is_still_told() -> None:
    assert shown_address("https://user:PW@host:9000/a") == "https://…@host:9000/a"
    assert shown_address("https://host/x?token=PW") == "https://host/x?…"
    assert without_passwords("see http://u:PW@h:8081/#/job, or 'ftp://PW@h'") == (
        "see http://…@h:8081/#/job, or 'ftp://…@h'"
    )
    assert without_credentials("--x 'user:PW@h' is none") == "--x '…@h' is none"


@given(st.text(), st.text(st.characters(exclude_characters="/\\?#@", categories=["L", "N", "P"])))
def test_no_password_is_shown_whatever_it_holds(user: str, password: str) -> None:
    mark = f"canary{password}canary"
    assert mark not in shown_address(f"https://{user}:{mark}@host/x")


@given(st.text())
def test_other_texts_stay(text: str) -> None:
    if "@" not in text:
        assert without_passwords(text) == without_credentials(text) == text
