"""Small tokenizers for tests, trained in a moment."""

from __future__ import annotations

from functools import cache

WORDS = "hello world what is this three times nine a question an answer user assistant"
SPECIAL = ["<|im_start|>", "<|im_end|>"]


@cache
def byte_bpe(truncates: bool = False) -> bytes:
    """The JSON of a byte-level BPE as chat models have it; ``truncates`` cuts and pads to 8."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([WORDS] * 20, trainer)
    if truncates:
        made.enable_truncation(8)
        made.enable_padding(length=8)
    return str(made.to_str()).encode()
