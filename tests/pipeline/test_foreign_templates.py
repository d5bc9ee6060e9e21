"""Templates that are not ours: found wherever they lie, tried before use, and never trusted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from command_runs import (
    Prepare,
    has,
    lines,
    put,
    turns,
)
from hub import Hub, hub_environment
from hub_runs import refused, run

from transforms.chat import builtin_templates as module
from transforms.chat.builtin_templates import built_in
from transforms.chat.sandbox import DEFAULT_DATE
from transforms.chat.template import ChatTemplate

TEMPLATES = Path(module.__file__).with_name("templates")
NAMES = ("chatml", "qwen3", "qwen3-2507", "qwen2.5", "llama3", "mistral", "gemma", "gpt-oss")

PLAIN = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def template(name: str) -> ChatTemplate:
    return built_in(name, DEFAULT_DATE)


def tokenizer(name: str, **changes: Any) -> dict[str, bytes]:
    """The files of a tokenizer with one of our templates and its tokens."""
    ours = template(name)
    config = {
        "chat_template": ours.jinja,
        "bos_token": ours.bos or None,
        "eos_token": ours.eos,
        "added_tokens_decoder": {
            str(n): {"content": token, "special": n < 2}
            for n, token in enumerate(ours.control_tokens)
        },
        **changes,
    }
    return {"tokenizer_config.json": json.dumps(config).encode()}


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        put(path / name, data)
    return path


CONVERSATIONS = [
    {"messages": messages}
    for messages in (
        turns("What is it?", "It is that."),
        turns("  Led by blanks\n", "\n\nand lines \t"),
        turns("What?", "That.", "And?", "This.", "Well?", "Yes."),
        turns("What?", "That.", "And?", "This.", system="Be brief."),
        turns("{{ 7*7 }} {% endif %}", "'{{ messages }}' <b> & é 漢 \u2028", system=" "),
    )
]
REASONED = [
    {
        "messages": [
            {"role": "user", "content": "What?"},
            {"role": "assistant", "content": "That.", "reasoning_content": "Why that."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "This.", "reasoning_content": "Why this."},
        ]
    },
    {"messages": turns("Hm?", "<think>\nWhy so.\n</think>\n\nSo.", "Well?", "Yes.")},
]


def shown(prepare: Prepare, source: Path, *words: object) -> list[str]:
    """The texts of a source's rows, none of which is rejected."""
    told = prepare("--dataset", source, *words, "--json", "-n", 99, verb="preview").told
    return [row["text"] for row in told["rows"]]


def planned(prepare: Prepare, source: Path, *words: object) -> dict[str, Any]:
    """What a plan holds of its template."""
    found: dict[str, Any] = prepare("--dataset", source, *words, "--json", verb="plan").told
    return found["template"]


# ---- found by trying


@pytest.mark.parametrize("think", ["auto", "keep", "strip"])
@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_copy_writes_what_the_built_in_one_writes(
    prepare: Prepare, tmp_path: Path, name: str, think: str
) -> None:
    # ChatML has no place for reasoning of its own: what is kept there is our rule.
    reasons = think != "auto" or template(name).thinks == "own"
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS, *(REASONED if reasons else ()))
    place = folder(tmp_path / "model", tokenizer(name))
    words = ("--think", think, "--control-tokens", "keep")
    ours = shown(prepare, source, "--template", name, *words)
    assert len(ours) == len(CONVERSATIONS) + 2 * reasons
    assert shown(prepare, source, "--template", place, *words) == ours
    facts = ("bos_token", "eos_token", "user_marker", "assistant_marker", "control_tokens")
    there, here = (planned(prepare, source, "--template", t) for t in (place, name))
    assert [there[fact] for fact in facts] == [here[fact] for fact in facts]
    assert there["sha256"] == here["sha256"] == template(name).sha256
    assert there["jinja"] == template(name).jinja


@pytest.mark.parametrize("name", ["chatml", "qwen3", "llama3", "gemma", "gpt-oss"])
def test_a_file_alone_tells_markers_and_the_end_of_a_turn(
    prepare: Prepare, tmp_path: Path, name: str
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    words = ("--template", TEMPLATES / f"{name}.jinja")
    ours = shown(prepare, source, "--template", name, "--control-tokens", "keep")
    assert shown(prepare, source, *words, "--control-tokens", "keep") == ours
    found, known = planned(prepare, source, *words), template(name)
    assert found["name"] == f"{name}.jinja"
    assert found["eos_token"] == known.eos
    assert found["user_marker"] == known.user_marker
    assert found["assistant_marker"] == known.assistant_marker
    # What is in its own text; the others are the tokenizer's to tell.
    written = {known.eos, *(t for t in known.control_tokens if t in "".join(ours))}
    assert written <= set(found["control_tokens"])


def test_a_file_that_needs_the_end_token_of_a_tokenizer_is_refused(
    prepare: Prepare, tmp_path: Path
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    ended = prepare("--dataset", source, "--template", TEMPLATES / "mistral.jinja")
    assert ended.code == 2
    assert has(ended.err, "mistral.jinja", "eos_token", "tokenizer's folder")
    ended = prepare("--dataset", source, "--template", TEMPLATES / "llama3.jinja", "--bos", "keep")
    assert ended.code == 2
    assert has(ended.err, "llama3.jinja", "bos_token", "tokenizer's folder")


def test_the_token_that_texts_begin_with_is_kept_when_asked_for(
    prepare: Prepare, tmp_path: Path
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    place = folder(tmp_path / "model", tokenizer("llama3"))
    for words, start in (((), "<|start_header_id|>"), (("--bos", "keep"), "<|begin_of_text|>")):
        texts = shown(prepare, source, "--template", place, *words)
        assert texts == shown(prepare, source, "--template", "llama3", *words)
        assert all(text.startswith(start) for text in texts)


# ---- where a template lies in a tokenizer's folder


def without(config: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    found = json.loads(config["tokenizer_config.json"]) | changes
    kept = {key: value for key, value in found.items() if value != "gone"}
    return {"tokenizer_config.json": json.dumps(kept).encode()}


BASE = tokenizer("chatml")
JINJA = template("chatml").jinja
ADDED = [{"id": n, "content": t} for n, t in enumerate(template("chatml").control_tokens)]
FOLDERS: dict[str, dict[str, bytes]] = {
    "a text": BASE,
    "named ones": without(
        BASE,
        chat_template=[
            {"name": "tool_use", "template": "{{ raise_exception('not this one') }}"},
            {"name": "default", "template": JINJA},
        ],
    ),
    "a file beside": {**without(BASE, chat_template="gone"), "chat_template.jinja": JINJA.encode()},
    "a file that is preferred": {
        **without(BASE, chat_template="{{ raise_exception('not this one') }}"),
        "chat_template.jinja": JINJA.encode(),
    },
    "with a byte order mark": {
        **without(BASE, chat_template="gone"),
        "chat_template.jinja": b"\xef\xbb\xbf" + JINJA.encode(),
    },
    "tokens as objects": without(
        BASE,
        eos_token={"__type": "AddedToken", "content": "<|im_end|>", "lstrip": False},
        bos_token=None,
    ),
    "tokens in tokenizer.json": {
        **without(BASE, added_tokens_decoder="gone"),
        "tokenizer.json": json.dumps({"added_tokens": ADDED, "model": {}}).encode(),
    },
    "beside what is no token": without(
        BASE,
        added_tokens_decoder={
            **{str(entry["id"]): entry for entry in ADDED},
            "7": None,
            "8": 5,
            "9": {"content": None},
            "10": {"content": " "},
        },
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_tokenizer_s_folder_is_read_in_every_form(
    prepare: Prepare, tmp_path: Path, kind: str
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    place = folder(tmp_path / "some" / "model", FOLDERS[kind])
    found = planned(prepare, source, "--template", place)
    assert found["name"] == "model"  # no machine's paths
    assert found["sha256"] == template("chatml").sha256
    assert found["eos_token"] == "<|im_end|>"
    assert found["control_tokens"] == list(template("chatml").control_tokens)


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({}, 2, "has no chat template"),
        (without(BASE, chat_template="gone"), 2, "has no chat template"),
        (without(BASE, chat_template=" "), 2, "has no chat template"),
        (without(BASE, chat_template=[]), 2, "has no chat template"),
        (without(BASE, chat_template=["x", {"name": "rag"}]), 2, "has no chat template"),
        (without(BASE, chat_template={"default": JINJA}), 2, "has no chat template"),
        ({"tokenizer_config.json": b"{broken"}, 3, "is not JSON"),
        ({"tokenizer_config.json": b"[" * 100_000}, 3, "is not JSON"),
        ({"tokenizer_config.json": b"[]"}, 2, "has no chat template"),
        ({"chat_template.jinja": b"\xff\xfe"}, 2, "not UTF-8"),
    ],
)
def test_a_folder_without_a_usable_template_is_told(
    prepare: Prepare, tmp_path: Path, files: dict[str, bytes], code: int, says: str
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    place = folder(tmp_path / "model", {"other.txt": b"", **files})
    ended = prepare("--dataset", source, "--template", place)
    assert ended.code == code
    assert has(ended.err, str(place), says)


def test_a_system_prompt_must_not_hold_tokens_that_trying_found(
    prepare: Prepare, tmp_path: Path
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    jinja = put(tmp_path / "plain.jinja", PLAIN)
    words = ("--dataset", source, "--template", jinja, "--system-prompt", "Hm <|im_end|>")
    ended = prepare(*words)
    assert ended.code == 2
    assert has(ended.err, "--system-prompt", "<|im_end|>")


# ---- what is in the manifest


def test_the_template_s_text_decides_the_digest(prepare: Prepare, tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    ended = []
    for n, jinja in enumerate((PLAIN, PLAIN, PLAIN + "{# a note #}")):
        path = put(tmp_path / str(n) / "plain.jinja", jinja)
        ended.append(prepare("--dataset", source, "--template", path))
        facts = ended[-1].manifest["plan"]["template"]
        assert facts["sha256"] == hashlib.sha256(jinja.encode()).hexdigest()
        assert ended[-1].manifest["training"]["template_sha256"] == facts["sha256"]
        assert str(tmp_path) not in json.dumps(facts)
    digests = [one.manifest["plan_digest"] for one in ended]
    assert digests[0] == digests[1] != digests[2]
    assert prepare(ended[0].output, verb="verify").code == 0


# ---- templates that mislay what they are given

DROPS_SYSTEM = PLAIN.replace("in messages", "in messages if m.role != 'system'")
DROPS_TOOL = PLAIN.replace("in messages", "in messages if m.role != 'tool'")
SHOUTS = PLAIN.replace(
    "{{ m.content }}", "{{ m.content | upper if 'z' in m.content else m.content }}"
)
JOINS = PLAIN.replace(
    "{% for", "{% if messages[0].role == 'system' %}{{ messages[0].content }}"
    "{{ messages[1].content }}{% endif %}{% for", 1,
)  # fmt: skip
HIDES = PLAIN.replace(
    "{{ m.content }}<|im_end|>", "{{ m.content }}{{ '' if 'z' in m.content else '<|im_end|>' }}"
)
REFUSES = "{% if 'z' in messages[0].content %}{{ raise_exception('no z') }}{% endif %}" + PLAIN
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOLS = [
    {"role": "user", "content": "What?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "result"},
    {"role": "assistant", "content": "That."},
]


@pytest.mark.parametrize(
    ("jinja", "messages", "code"),
    [
        (DROPS_SYSTEM, turns("What?", "That.", system="Be kind."), "turn-dropped"),
        (DROPS_TOOL, [TOOLS[0], TOOLS[3], TOOLS[0], TOOLS[3], *TOOLS[2:]], "turn-dropped"),
        (PLAIN, TOOLS, "turn-dropped"),  # the call
        (SHOUTS, turns("What is z?", "That."), "turn-dropped"),
        (JOINS, turns("im_end|> hm", "That.", system="hm <|"), "control-token"),
        (HIDES, turns("What is z?", "That."), "control-token"),
        (REFUSES, turns("What is z?", "That."), "template-refused"),
        (PLAIN, turns("What <|im_end|>?", "That."), "control-token"),
    ],
    ids=["system", "tool", "call", "case", "join", "hide", "refuse", "token"],
)
def test_what_a_template_mislays_is_a_reject_with_its_code(
    prepare: Prepare, tmp_path: Path, jinja: str, messages: list[Any], code: str
) -> None:
    rows = [{"messages": turns(f"Wh{n}?", "Th.")} for n in range(30)]
    source = lines(tmp_path / "a.jsonl", *rows, {"messages": messages})
    ended = prepare("--dataset", source, "--template", put(tmp_path / "odd.jinja", jinja))
    assert ended.rejects == [("a.jsonl", 31, code)]
    assert ended.counts["read"] == 31 and ended.counts["events"] == {}


@pytest.mark.parametrize("think", ["auto", "keep"])
def test_reasoning_that_a_template_leaves_out_is_counted(
    prepare: Prepare, tmp_path: Path, think: str
) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS, REASONED[0])
    words = ("--template", put(tmp_path / "plain.jinja", PLAIN), "--think", think)
    ended = prepare("--dataset", source, *words)
    assert ended.counts["rejected"]["total"] == 0
    there = sum("Why that." in text for text in ended.texts())
    lost = {"reasoning-not-in-text": 1}
    assert (there, ended.counts["events"]) == ((0, lost) if think == "auto" else (1, {}))
    if think == "auto":
        assert has(ended.out, "Note: 1 row had", "--think keep")


def test_a_dropped_turn_that_another_one_repeats_is_a_reject(
    prepare: Prepare, tmp_path: Path
) -> None:
    drops_first = PLAIN.replace("in messages", "in messages[2 if messages | length > 5 else 0:]")
    rows = [{"messages": turns(f"What {n}?", "That.")} for n in range(30)]
    twice = turns("Go on.", "I do.", "Well?", "Yes.", "Go on.", "I do.")
    source = lines(tmp_path / "a.jsonl", *rows, {"messages": twice})
    ended = prepare("--dataset", source, "--template", put(tmp_path / "odd.jinja", drops_first))
    assert ended.rejects == [("a.jsonl", 31, "turn-dropped")]


def test_a_system_prompt_of_the_template_s_own_is_told(prepare: Prepare, tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    words = ("--dataset", source, "--template", TEMPLATES / "qwen2.5.jinja")
    ended = prepare(*words)
    assert sum("created by Alibaba" in text for text in ended.texts()) == 3
    assert ended.counts["events"] == {"template-system-prompt": 3}


def test_no_network_is_used_for_a_template_on_the_disk(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    source = lines(tmp_path / "a.jsonl", *CONVERSATIONS)
    place = folder(tmp_path / "user" / "model", BASE)
    assert planned(prepare, source, "--template", place)["name"] == "model"


# ---- from the hub

MODEL = "user/model"
WEIGHTS = {"model.safetensors": b"x" * 100, "README.md": b"# A model", "tokenizer.model": b"x"}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return lines(tmp_path / "in" / "a.jsonl", *CONVERSATIONS)


def test_a_model_s_template_is_that_of_its_folder(
    prepare: Prepare, hub: Hub, tmp_path: Path, rows: Path
) -> None:
    files = FOLDERS["tokens in tokenizer.json"]
    sha = hub.add_model(MODEL, {**WEIGHTS, **files})
    result = run(
        hub_environment(hub, tmp_path), tmp_path, "--dataset", str(rows),
        "--template", f"hub:{MODEL}",
    )  # fmt: skip
    template_facts = result.manifest["plan"]["template"]
    assert template_facts["name"] == f"hub:{MODEL}"
    assert template_facts["sha256"] == template("chatml").sha256
    assert result.manifest["training"]["template"] == f"hub:{MODEL}"
    assert list(result.manifest["counts"]["rejected"]["by_reason"]) == []
    here = prepare("--dataset", rows, "--template", folder(tmp_path / "model", files))
    theirs = {k: v for k, v in template_facts.items() if k != "name"}
    ours = {k: v for k, v in here.manifest["plan"]["template"].items() if k != "name"}
    assert theirs == ours
    shards = {
        str(path.relative_to(here.output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in here.output.glob("*/*.arrow")
    }
    assert result.shards == shards
    asked = {request.path for request in hub.requests if "/resolve/" in request.path}
    assert asked == {
        f"/{MODEL}/resolve/{sha}/{name}"
        for name in ("tokenizer_config.json", "chat_template.jinja", "tokenizer.json")
    }
    others = {request.path for request in hub.requests if "/resolve/" not in request.path}
    assert others == {f"/api/models/{MODEL}/auth-check", f"/api/models/{MODEL}"}


def test_tokenizer_json_is_fetched_only_where_it_is_needed(
    hub: Hub, tmp_path: Path, rows: Path
) -> None:
    hub.add_model(MODEL, {**WEIGHTS, **BASE, "tokenizer.json": b"{}"})
    environment = hub_environment(hub, tmp_path)
    words = ("--dataset", str(rows), "--template", f"hub:{MODEL}")
    assert run(environment, tmp_path, *words, verb="plan").code == 0
    assert not [r for r in hub.requests if r.path.endswith("tokenizer.json")]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("user/missing", 2, ["user/missing", "not on the hub", "--template"]),
        ("user/private", 4, ["user/private", "private", "HF_TOKEN"]),
        ("user/gated", 4, ["user/gated", "gated", "HF_TOKEN"]),
        ("user/base", 2, ["hub:user/base", "has no chat template"]),
        ("user/broken", 3, ["tokenizer_config.json", "user/broken", "is not JSON"]),
        ("", 2, ["--template", "names no model"]),
        ("../../etc", 2, ["--template", "names no model"]),
        ("a/b/c", 2, ["--template", "names no model"]),
    ],
)
def test_a_model_that_cannot_be_read_is_told(
    hub: Hub, tmp_path: Path, rows: Path, name: str, code: int, says: list[str]
) -> None:
    hub.add_model("user/private", BASE, private=True)
    hub.add_model("user/gated", BASE, gated=True)
    hub.add_model("user/base", WEIGHTS)
    hub.add_model("user/broken", {"tokenizer_config.json": b"{broken"})
    hub.add("user/missing", {"train.jsonl": b"{}"})  # a data set of that name is no model
    hub.valid_tokens.add("hf_known")
    token = "hf_known" if name == "user/missing" else None
    words = ("--dataset", str(rows), "--template", f"hub:{name}")
    refused(run(hub_environment(hub, tmp_path, token), tmp_path, *words), code, *says)


def test_a_private_model_is_read_with_a_login(hub: Hub, tmp_path: Path, rows: Path) -> None:
    hub.add_model(MODEL, BASE, private=True)
    hub.valid_tokens.add("hf_known")
    environment = hub_environment(hub, tmp_path, "hf_known")
    words = ("--dataset", str(rows), "--template", f"hub:{MODEL}")
    assert run(environment, tmp_path, *words, verb="plan").code == 0
    # A copy in the cache is no leave to read it.
    hub.revoke("hf_known")
    refused(run(environment, tmp_path, *words), 4, "HF_TOKEN")


@pytest.mark.parametrize("file", ["tokenizer_config.json", "chat_template.jinja", "tokenizer.json"])
def test_a_file_that_the_hub_fails_to_give_is_not_taken_for_missing(
    hub: Hub, tmp_path: Path, rows: Path, file: str
) -> None:
    hub.add_model(MODEL, FOLDERS["tokens in tokenizer.json"])
    hub.fail(f"/{file}", 503, times=None)
    result = run(
        hub_environment(hub, tmp_path), tmp_path, "--dataset", str(rows),
        "--template", f"hub:{MODEL}",
    )  # fmt: skip
    refused(result, 5, "run again")


def test_a_short_outage_is_waited_for(hub: Hub, tmp_path: Path, rows: Path) -> None:
    hub.add_model(MODEL, BASE)
    for ending in (f"/api/models/{MODEL}", "/tokenizer_config.json"):
        hub.fail(ending, 503, times=2)
    words = ("--dataset", str(rows), "--template", f"hub:{MODEL}")
    result = run(hub_environment(hub, tmp_path), tmp_path, *words, verb="plan")
    assert result.code == 0, result.err
    assert result.waits


def test_a_hub_that_is_down_is_told(hub: Hub, tmp_path: Path, rows: Path) -> None:
    hub.stop()
    words = ("--dataset", str(rows), "--template", f"hub:{MODEL}")
    refused(run(hub_environment(hub, tmp_path), tmp_path, *words), 5, "cannot be reached")
