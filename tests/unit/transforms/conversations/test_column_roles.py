"""Column roles: what a column's name says, however it is spelt."""

from __future__ import annotations

import pytest

from transforms.conversations.column_roles import NAMES, Role, fold_name, known_role


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("prompt", Role.PROMPT),
        ("Question", Role.PROMPT),
        ("input", Role.INPUT),
        ("passage", Role.CONTEXT),
        ("RESPONSE", Role.ANSWER),
        ("Complex_CoT", Role.REASONING),
        ("system-prompt", Role.SYSTEM),
        ("System Prompt", Role.SYSTEM),
        ("systemPrompt", Role.SYSTEM),
        ("history", Role.HISTORY),
        ("conversations", Role.TURNS),
        ("chosen", Role.CHOSEN),
        ("rejected_response", Role.REJECTED),
        ("label", Role.LABEL),
        ("loss_mask", Role.MARK),
        ("answerKey", Role.CHOICES),
        ("hypothesis", Role.PAIR),
        ("sub-domain", Role.METADATA),
        ("frage", None),
        ("", None),
    ],
)
def test_a_name_says_its_role(name: str, role: Role | None) -> None:
    assert known_role(name) is role


def test_no_name_has_two_roles() -> None:
    folded = [fold_name(name) for names in NAMES.values() for name in dict.fromkeys(names)]
    assert sorted(folded) == sorted(set(folded))


def test_only_metadata_decides_no_text() -> None:
    assert [role for role in Role if not role.decides_text] == [Role.METADATA]
    assert set(NAMES) == set(Role)
