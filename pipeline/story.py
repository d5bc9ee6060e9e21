"""The console story of a run, after the guide's: what is loaded, formatted, split and saved."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.console import Console, runner_output_aside
from pipeline.explain import source_lines
from pipeline.plan import Plan, make_plan
from pipeline.preview import first_rows
from pipeline.request import Request

if TYPE_CHECKING:
    from pipeline.job import Prepared

_RULE = "=" * 70


def prepare_with_story(request: Request, console: Console) -> Prepared:
    """Plans and runs a request, telling the story on ``console``."""
    say = console.say
    say(f"{_RULE}\nDATA PREPARATION PIPELINE\n{_RULE}")
    say("✓ Initialized DatasetProcessor")
    say(f"  Dataset: {request.dataset}")
    say(f"  S3 Bucket: {request.s3_bucket if not request.skip_upload else '(upload skipped)'}")
    say(f"  Local Cache: {Path(request.output).parent}")

    say("\n📥 Loading dataset...")
    plan = make_plan(request)
    for line in source_lines(plan):
        say(line)

    say("\n🔄 Formatting dataset for training...")
    say(f"  Fields: {plan.fields.mapping.describe()} ({plan.fields.rule})")
    if plan.fields.hint:
        say(f"  Note: {plan.fields.hint}")
    for row in first_rows(plan, 1):
        say("  Sample formatted text (first 200 chars):")
        say(f"  {row.text(plan)[:200]}...")

    with runner_output_aside():
        # Beam takes a second to import; most that can be wrong with a request was found before.
        # What it makes is there to stay: the collector need not walk it again and again.
        gc.disable()
        from pipeline.job import output_folder, run

        gc.freeze()
        gc.enable()
        with console.progress(len(plan.units), output_folder(request).reports):
            outcome = run(plan, request)
    _tell(plan, request, outcome, console)
    return outcome


def _tell(plan: Plan, request: Request, outcome: Prepared, console: Console) -> None:
    say = console.say
    counts = outcome.manifest["counts"]
    kept = counts["train"] + counts["validation"]
    output = Path(request.output)
    if outcome.already_complete:
        say(f"\n✓ Already complete: {output} holds this very plan ({plan.digest[:12]})")
    say(f"✓ Formatted {kept:,} examples of {counts['read']:,} rows read")
    rejected = counts["rejected"]
    if rejected["total"]:
        reasons = ", ".join(f"{code} {n:,}" for code, n in rejected["by_reason"].items())
        say(f"  Rejected {rejected['total']:,} rows: {reasons} (see {output / 'rejects'})")

    say(f"\n✂️  Creating train/validation split (val_size={request.val_size})...")
    say("✓ Split created:")
    say(f"  - Training: {counts['train']:,} examples")
    say(f"  - Validation: {counts['validation']:,} examples")
    if not kept:
        say("  Warning: every row was rejected; the data set is valid but empty")

    files = outcome.manifest["files"]
    size = sum(file["bytes"] for file in files)
    say(f"\n💾 Saving dataset locally to {output}...")
    say(f"✓ Dataset saved successfully: {len(files)} files, {size / 1e6:,.1f} MB")
    done = "DATA PREPARATION COMPLETE!" if request.skip_upload else "LOCAL PREPARATION COMPLETE"
    say(f"\n{_RULE}\n✅ {done}\n{_RULE}\nLocal Path: {output}\n")
    say("To use this dataset in training, set:")
    say(f"  --dataset-path '{output}'\n{_RULE}")
