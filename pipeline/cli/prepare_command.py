"""``prepare`` and ``submit`` on the console: what is loaded, formatted, split and saved.

The headings are those of the script that this job replaces.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.console import Console, runner_output_aside
from pipeline.cli.process_tuning import long_lived_imports
from pipeline.dataset.destinations import dated_folders
from pipeline.dataset.report import lines
from pipeline.dataset.upload import Uploaded, claimed, kept, note, send
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.plan_text import source_lines
from pipeline.planning.preview import first_rows
from pipeline.request import DEFAULT_OUTPUT, Request
from transforms.conversations.remedies import remedy_of
from transforms.leakage.contamination import OVERLAP
from transforms.storage.names import CARD, DATASET_DICT, MANIFEST, REPORT
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Uri, is_s3

if TYPE_CHECKING:
    from pipeline.launch.job import Prepared, Submitted

_RULE = "=" * 70

_EVENTS = {
    "reasoning-not-in-text": "had reasoning that the template leaves out of the text; "
    "--think keep includes all of it",
    "tools-not-in-text": "offered tools that the template cannot render",
    "template-system-prompt": "got the template's own system prompt; set another one with "
    "--system-prompt",
    "control-token-escaped": "contained control tokens, which were escaped",
    "control-token-kept": "contained control tokens, which were kept (--control-tokens keep)",
}


def run_prepare(request: Request, console: Console) -> tuple[Prepared, Uploaded | None]:
    """Plans and runs a request, uploads its set, and prints each step on ``console``."""
    say = console.say
    plan, targets = _begin(request, console)
    on_s3 = is_s3(request.output)
    outcome = _run(plan, request, console)
    _print_result(plan, request, outcome, console)
    uploaded = _upload(request, outcome, targets, console) if targets else None
    address = uploaded.uri if uploaded else outcome.path if on_s3 else None
    _print_quality(outcome, outcome.path if on_s3 else str(Path(request.output)), console)
    say("", _RULE, "✅ DATA PREPARATION COMPLETE!", _RULE)
    if not on_s3:
        say(f"Local Path: {Path(request.output)}")
    if address:
        say(f"S3 URI: {address}")
    say(f"Manifest SHA-256: {outcome.manifest.sha256}")
    say("", "To use this dataset in training, set:")
    say(f"  --dataset-path '{address or Path(request.output)}'")
    say(f"  Settings for trainers: {address or Path(request.output)}/{CARD}", _RULE)
    return outcome, uploaded


def run_submit(request: Request, console: Console) -> Submitted:
    """Plans a request, submits it to a cluster, and prints each step on ``console``."""
    plan, _ = _begin(request, console)
    say = console.say
    with runner_output_aside():
        with long_lived_imports():
            from pipeline.launch.job import submit

        submitted = submit(plan, request, say)
    if submitted.job is None:
        say(
            "", f"✓ Already complete: {submitted.path} was made from this plan ({plan.digest[:12]})"
        )
        return submitted
    say("", f"✓ Submitted: {submitted.job}")
    say(f"  The result appears at {submitted.path} when it is complete.")
    say(f"  Progress: python -m pipeline status {submitted.path}")
    return submitted


def _begin(request: Request, console: Console) -> tuple[Plan, list[S3Store]]:
    """The plan, and the places where its folder can be uploaded."""
    say = console.say
    say(_RULE, "DATA PREPARATION PIPELINE", _RULE)
    say("✓ Initialized DatasetProcessor")
    say(f"  Dataset: {request.dataset_name}")
    on_s3 = is_s3(request.output)
    bucket = S3Uri.parse(request.output).bucket if on_s3 else request.s3_bucket
    say(f"  S3 Bucket: {bucket if on_s3 or request.uploads else '(upload skipped)'}")
    say(f"  Local Cache: {_cache(request)}")

    say("", "📥 Loading dataset...")
    plan = make_plan(request)
    for line in source_lines(plan):
        say(line)
    targets = _targets(request)
    if targets:  # checks credentials, bucket and region before the work rather than after it
        next(targets[0].bucket.keys(targets[0].place.key("")), None)

    say("", "🔄 Formatting dataset for training...")
    say(f"  Fields: {plan.fields.mapping.describe()} ({plan.fields.rule})")
    if plan.fields.guess:
        say(f"  Note: {plan.fields.guess_note}")
    if plan.fields.hint:
        say(f"  Note: {plan.fields.hint}")
    for row in first_rows(plan, 1):
        say("  Sample formatted text (first 200 chars):")
        say(*(f"  │ {line}" for line in f"{row.text[:200]}...".split("\n")))
    return plan, targets


def _cache(request: Request) -> Path:
    return Path(DEFAULT_OUTPUT if is_s3(request.output) else request.output).parent


def _targets(request: Request) -> list[S3Store]:
    if not request.uploads:
        return []
    place = S3Uri(request.s3_bucket, "datasets")
    return list(dated_folders(place, Path(request.output).absolute().name, request.s3))


def _run(plan: Plan, request: Request, console: Console) -> Prepared:
    with runner_output_aside():
        with long_lived_imports():  # Beam takes a second; a refused request does not wait for it
            from pipeline.launch.job import run

        return run(
            plan,
            request,
            show_progress=lambda n, store: console.progress(n, store.reports, store.scanned),
            print_line=console.say,
        )


def _print_result(plan: Plan, request: Request, outcome: Prepared, console: Console) -> None:
    say = console.say
    counts, kept = outcome.manifest.counts, outcome.manifest.counts.kept
    output = outcome.path if is_s3(request.output) else str(Path(request.output))
    if outcome.already_complete:
        say("", f"✓ Already complete: {output} was made from this plan ({plan.digest[:12]})")
    if outcome.resumed:
        say(f"✓ Resumed: {outcome.resumed:,} of {len(plan.units):,} shards were there already")
    say(f"✓ Formatted {kept:,} examples of {counts.read:,} rows read")
    rejected = counts.rejected
    if rejected.total:
        reasons = ", ".join(f"{code} {n:,}" for code, n in rejected.by_reason.items())
        say(f"  Rejected {rejected.total:,} rows: {reasons} (see {output}/rejects)")
        roles = plan.fields.mapping.roles_in(plan.sample).items()
        unknown = [repr(name) for name, role in roles if role is None]
        for code in sorted(rejected.by_reason, key=lambda code: -rejected.by_reason[code]):
            if remedy := remedy_of(code, unknown):
                say(f"    {code}: {remedy}")

    quality = outcome.manifest.quality
    if counts.duplicates and quality and quality.duplicates:
        found = quality.duplicates
        kinds = f"exact {found.exact:,}, near {found.near:,}"
        say(f"  Removed {counts.duplicates:,} duplicate rows ({kinds})")

    for event, count in counts.events.items():
        say(f"  Note: {count:,} {'row' if count == 1 else 'rows'} {_describe_note(event, plan)}")

    say("", f"✂️  Creating train/validation split (val_size={request.val_size})...")
    say("✓ Split created:")
    say(f"  - Training: {counts.train:,} examples")
    say(f"  - Validation: {counts.validation:,} examples")

    files = outcome.manifest.files
    size = sum(file.bytes for file in files)
    if is_s3(request.output):
        say("", f"☁️  Saving dataset to {output}...")
        _, noted = note(_cache(request), _written_by_workers(outcome), request.dataset_name)
        say(f"✓ Dataset saved successfully: {len(files)} files, {size / 1e6:,.1f} MB")
        say(f"  {noted}")
    else:
        say("", f"💾 Saving dataset locally to {output}...")
        say(f"✓ Dataset saved successfully: {len(files)} files, {size / 1e6:,.1f} MB")
    for warning in outcome.warnings:
        say(f"  Warning: {warning}")


def _describe_note(event: str, plan: Plan) -> str:
    if not event.startswith(OVERLAP):
        return _EVENTS.get(event, event)
    done = ", so they were dropped"
    if plan.quality.contaminated == "report":
        done = "; --contaminated drop removes them"
    return f"contained text of the benchmark {event.removeprefix(OVERLAP)}{done}"


def _print_quality(outcome: Prepared, place: str, console: Console) -> None:
    """The five most important numbers, and the place of the report."""
    console.say("", "📊 Quality:")
    for line in lines(outcome.manifest):
        console.say(line)
    if any(file.path == REPORT for file in outcome.manifest.files):
        console.say(f"  Report: {place}/{REPORT}")


def _written_by_workers(outcome: Prepared) -> Uploaded:
    """The files that the workers wrote to S3 themselves, as an upload."""
    prefix = S3Uri.parse(outcome.path)
    paths = [file.path for file in outcome.manifest.files]
    keys = [prefix.key(name) for name in (*paths, MANIFEST, DATASET_DICT)]
    return Uploaded(outcome.path, outcome.manifest, tuple(keys), len(keys))


def _upload(
    request: Request, outcome: Prepared, targets: list[S3Store], console: Console
) -> Uploaded:
    say = console.say
    local = Path(request.output)
    size = sum(file.bytes for file in outcome.manifest.files)
    say("", "☁️  Uploading dataset to S3...")
    with (
        kept(local, targets[0]),
        claimed(targets, outcome.manifest.plan_digest, resume=False) as store,
        kept(local, store),
    ):
        say(f"  Bucket: {store.path}")
        with console.transfer(size) as on_bytes:
            uploaded = send(local, store, on_bytes, lambda line: say(f"  {line}"))
    _, noted = note(_cache(request), uploaded, request.dataset_name)
    for warning in uploaded.warnings:
        say(f"  Warning: {warning}")
    say("", f"✓ Upload complete! Total files: {len(uploaded.keys)}")
    say(f"  S3 URI: {uploaded.uri}", f"  {noted}")
    return uploaded
