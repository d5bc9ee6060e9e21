"""The flags of the verbs that work on prepared sets."""

from __future__ import annotations

from typing import Any

from pipeline.cli.flags import Parser, console_flags, s3_flags


def moving(verb: str) -> Parser:
    """The parser of a verb that works on a prepared set."""
    describe, arguments = _MOVING[verb]
    parser = Parser(
        prog=f"python -m pipeline {verb}",
        description=describe,
        allow_abbrev=False,
    )
    for name, options in arguments.items():
        parser.add_argument(name, **options)
    s3_flags(parser)
    console_flags(parser)
    return parser


_MOVING: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "status": (
        "Tells whether a set is complete, being made (and how far), begun and stopped, or not "
        "there; looks at the output alone.",
        {"address": {"metavar": "PATH-OR-URI", "help": "the output of prepare or submit"}},
    ),
    "upload": (
        "Sends a prepared folder to S3: data first, the file that makes it load last. What is "
        "there already is not sent again.",
        {
            "local": {"metavar": "LOCAL", "help": "the prepared folder"},
            "address": {
                "metavar": "S3-URI",
                "help": "s3://BUCKET/PREFIX; with a closing slash the set gets a dated name below",
            },
            "--resume": {
                "action": "store_true",
                "help": "take over at once from an upload of this set that died",
            },
        },
    ),
    "download": (
        "Fetches a set from S3 into a folder, which appears when every file is checked.",
        {
            "address": {"metavar": "S3-URI", "help": "s3://BUCKET/PREFIX"},
            "local": {
                "metavar": "LOCAL",
                "nargs": "?",
                "help": "the folder to make (default: data_cache/ and the set's name)",
            },
        },
    ),
    "verify": (
        "Checks a set: every file there with its size and SHA-256, the rows counted, loadable.",
        {
            "address": {"metavar": "PATH-OR-URI", "help": "a local folder, or s3://BUCKET/PREFIX"},
            "--quick": {
                "action": "store_true",
                "help": "sizes and the checksums that the store knows, without reading the data",
            },
        },
    ),
    "report": (
        "Makes the page that tells a set's quality, from its manifest and some of its rows. It is "
        "written to the folder where you are, never into a set; that of a set which the job made "
        "is the same as its own report.html.",
        {
            "address": {"metavar": "PATH-OR-URI", "help": "a local folder, or s3://BUCKET/PREFIX"},
            "--output": {
                "metavar": "FILE",
                "help": "the page to write (default: report-NAME.html, after the set's name); an "
                "earlier report there is replaced, any other file is not",
            },
            "--open": {"action": "store_true", "help": "show it in the browser"},
        },
    ),
    "diff": (
        "Counts the rows that two sets do not share: added, removed, changed, in another split.",
        {
            "first": {"metavar": "PATH-OR-URI", "help": "a set, in a folder or on S3"},
            "second": {"metavar": "PATH-OR-URI", "help": "the set that it is compared with"},
        },
    ),
    "list": (
        "Shows the sets below an S3 address: name, when, source, rows, bytes, complete or not.",
        {"address": {"metavar": "S3-URI", "help": "s3://BUCKET/datasets/"}},
    ),
    "prune": (
        "Deletes all complete sets below an S3 address but the newest; shows them, and deletes "
        "with --yes only. Needs s3:DeleteObject.",
        {
            "address": {"metavar": "S3-URI", "help": "s3://BUCKET/datasets/"},
            "--keep": {"type": int, "required": True, "metavar": "N", "help": "sets to keep"},
            "--yes": {"action": "store_true", "help": "delete what is shown"},
        },
    ),
}
