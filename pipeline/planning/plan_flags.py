"""A plan as the flags that decide a set's bytes."""

from __future__ import annotations

from typing import Any

from pipeline.planning.plan import Plan

OF_A_SET = (
    *("dataset", "config", "split", "revision", "max-samples", "shard-size"),
    *("fields", "role", "unpack-json", "val-size", "seed", "split-key"),
    *("template", "system-prompt", "think", "control-tokens", "columns", "tools", "bos"),
    *("template-date", "same-role", "ends-with-user", "assistant-first"),
    *("dedup", "decontaminate", "contaminated", "tokenizer", "max-tokens", "too-long", "balance"),
)
"""Flags that decide a set's bytes: those that ``of_plan`` tells, and a manifest may set."""


def of_plan(plan: Plan) -> dict[str, Any]:
    """What decided a set's bytes, as flags; a hub data set at its commit."""
    source, chat, rules, mapping = plan.source, plan.chat, plan.rules, plan.fields.mapping
    quality, tokens = plan.quality, plan.quality.tokens
    flags: dict[str, Any] = {
        "dataset": plan.dataset,
        "config": source.config,
        "split": source.split,
        "revision": source.revision if source.kind == "hub" else None,
        "max-samples": plan.max_samples,
        "shard-size": plan.unit_bytes,
        "fields": mapping.flag if plan.fields.rule == "--fields" else None,
        "val-size": plan.split.val_size,
        "seed": plan.split.seed,
        "split-key": plan.split.key,
        "template": chat.template.name,
        "system-prompt": chat.system_prompt or "none",
        "think": chat.think,
        "control-tokens": chat.control_tokens,
        "columns": ",".join(plan.output_columns.names),
        "tools": chat.tools,
        "bos": "keep" if chat.keep_bos else "drop",
        "template-date": chat.date,
        "same-role": rules.same_role,
        "ends-with-user": rules.ends_with_user,
        "assistant-first": rules.assistant_first,
        "dedup": quality.dedup,
        "decontaminate": [benchmark.flag for benchmark in quality.benchmarks],
        "contaminated": quality.contaminated,
        "tokenizer": tokens.tokenizer if tokens else None,
        "max-tokens": tokens.max_tokens if tokens else None,
        "too-long": tokens.too_long if tokens else None,
        "balance": list(quality.balance),
    }
    flags |= mapping.flags()
    return {name: value for name, value in flags.items() if value is not None}
