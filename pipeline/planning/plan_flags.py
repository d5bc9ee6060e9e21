"""The ``config`` of a manifest: the options that decided the bytes of a set.

A configuration file with these options, as ``--config-file`` reads it, gives the same plan.
"""

from __future__ import annotations

from pipeline.planning.plan import Plan
from pipeline.request import Request
from transforms.declaration import own_options

_ONLY_WHEN_SET = ("ignore-training-marks",)
"""Options that came after the first manifests: those of sets without them stay as they were."""


def config_of(request: Request, plan: Plan) -> dict[str, object]:
    """The options that decided the bytes, by key, without those that have no value.

    The declaration says which these are.  What planning resolved takes the place of what was
    requested: a hub data set, for example, is at its commit.

    Args:
        request: the request.
        plan: its plan.
    """
    requested = {
        one.key: one.to_file(getattr(request, one.name))
        for one in own_options(Request)
        if one.decides_bytes
    }
    config = {**requested, **_resolved(plan)}
    unset = [key for key in _ONLY_WHEN_SET if not config[key]]
    return {k: value for k, value in config.items() if value is not None and k not in unset}


def _resolved(plan: Plan) -> dict[str, object]:
    """The options that planning found, completed or normalised; None where one does not apply."""
    source, chat, rules, mapping = plan.source, plan.chat, plan.rules, plan.fields.mapping
    tokens = plan.quality.tokens
    return {
        "config": source.config,
        "split": source.split,
        "revision": source.revision if source.kind == "hub" else None,
        "shard-size": plan.unit_bytes,
        "fields": mapping.flag if plan.fields.rule == "--fields" else None,
        "role": None,
        "unpack-json": None,
        **mapping.flags(),
        "split-key": plan.split.key,
        "template": chat.template.name,
        "system-prompt": chat.system_prompt or "none",
        "columns": ",".join(plan.output_columns.names),
        "same-role": rules.same_role,
        "ends-with-user": rules.ends_with_user,
        "assistant-first": rules.assistant_first,
        "decontaminate": [benchmark.flag for benchmark in plan.quality.benchmarks],
        "tokenizer": tokens.tokenizer if tokens else None,
        "too-long": tokens.too_long if tokens else None,
        "balance": list(plan.quality.balance),
    }
