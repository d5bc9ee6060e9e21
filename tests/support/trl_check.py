"""Shows as JSON what TRL makes of prepared folders; runs in the environment with TRL.

``python trl_check.py SHAPE=FOLDER ...`` builds a ``SFTTrainer`` on each folder and reads back the
batches that its data loader yields.  The model is tiny, the tokenizer trained on the texts, and the
chat template that of Qwen3-Instruct-2507, which TRL ships.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from typing import Any

sys.setdlopenflags(os.RTLD_LAZY)  # before torch: see trl_environment

import datasets  # noqa: E402
import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
import trl.chat_template_utils  # noqa: E402
from trl.chat_template_utils import qwen3_instruct_2507_chat_template  # noqa: E402
from trl.data_utils import is_conversational  # noqa: E402

EOS = "<|im_end|>"
PAD = "<|endoftext|>"
# How Qwen's tokenizers cut a text before they merge bytes: newlines that touch go together.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SETS_WITH_SNIPPETS = ("text", "prompt-completion", "messages")
# What a user sets for each other set; all else is TRL's default.
OPTIONS: dict[str, dict[str, Any]] = {
    "text-and-newline": {},
    "messages-unset": {},
    "both": {"assistant_only_loss": True},
}


def options_of(shape: str, folder: str) -> dict[str, Any]:
    """The settings of a set: those of its own snippet, where it has one."""
    manifest = pathlib.Path(folder, "manifest.json")
    if shape in SETS_WITH_SNIPPETS:
        snippet = json.loads(manifest.read_bytes())["training"]["snippets"]["TRL"]
        (call,) = (
            node
            for node in ast.walk(ast.parse(snippet))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SFTConfig"
        )
        given = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
        return {name: value for name, value in given.items() if name != "max_length"}
    return OPTIONS[shape]


def patched(tokenizer: transformers.PreTrainedTokenizerFast) -> list[str]:
    """SHA-256 of the templates for which TRL can train on the answers of messages alone."""
    found = []
    folder = pathlib.Path(trl.__file__).parent / "chat_templates"
    for path in sorted(folder.glob("*.jinja")):
        tokenizer.chat_template = path.read_text()
        try:
            made = trl.chat_template_utils.get_training_chat_template(tokenizer)
        except ValueError:
            continue
        if made is not None:
            found.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def strings(value: Any) -> Iterator[str]:
    """Every string in a row, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def make_tokenizer(data: datasets.DatasetDict) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE like Qwen's, with its control tokens."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", EOS, PAD],
        show_progress=False,
    )
    made.train_from_iterator(strings([split.to_list() for split in data.values()]), trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        chat_template=qwen3_instruct_2507_chat_template,
    )


def make_model(tokenizer: transformers.PreTrainedTokenizerFast) -> transformers.LlamaForCausalLM:
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return transformers.LlamaForCausalLM(config)


def shown(
    tokenizer: transformers.PreTrainedTokenizerFast, batch: dict[str, torch.Tensor]
) -> list[dict[str, Any]]:
    """The rows of a batch as text: all of it, and each stretch that the loss is taken of."""
    rows = []
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    for ids, labels, mask in zip(*columns, strict=True):
        length = sum(mask)
        assert mask == [1] * length + [0] * (len(mask) - length)
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        pairs = list(zip(ids[:length], labels[:length], strict=True))
        stretches = groupby(pairs, key=lambda pair: pair[1] != -100)
        at_end = 0
        while at_end < length and ids[length - 1 - at_end] == tokenizer.eos_token_id:
            at_end += 1
        rows.append(
            {
                "decoded": tokenizer.decode(ids[:length]),
                "eos": ids[:length].count(tokenizer.eos_token_id),
                "eos_at_end": at_end,
                "unmasked": [
                    tokenizer.decode([token for token, _ in stretch])
                    for trained, stretch in stretches
                    if trained
                ],
                "padding_masked": all(label == -100 for label in labels[length:]),
            }
        )
    return rows


def check(shape: str, folder: str, scratch: str) -> dict[str, Any]:
    data = datasets.load_from_disk(folder)
    tokenizer = make_tokenizer(data)
    found: dict[str, Any] = {"conversational": is_conversational(data["train"][0])}
    config = trl.SFTConfig(
        output_dir=scratch,
        max_length=None,
        per_device_eval_batch_size=max(map(len, data.values())),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        **options_of(shape, folder),
    )
    try:
        trainer = trl.SFTTrainer(
            model=make_model(tokenizer),
            args=config,
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            processing_class=tokenizer,
        )
    except ValueError as error:
        return found | {"refused": str(error)}
    for name, split in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        (batch,) = trainer.get_eval_dataloader(split)  # in order, unlike that of training
        found[name] = shown(tokenizer, batch)
    return found


def main() -> None:
    datasets.disable_caching()  # or what TRL maps is written into the folder
    datasets.disable_progress_bars()
    found: dict[str, Any] = {"trl": trl.__version__, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as scratch:
        for argument in sys.argv[1:]:
            shape, folder = argument.split("=", 1)
            data = datasets.load_from_disk(folder)
            found[shape] = check(shape, folder, scratch)
    found["patched"] = patched(make_tokenizer(data))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
