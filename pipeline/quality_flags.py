"""The flags that say what is looked for in rows, and what a set must be like."""

from __future__ import annotations

import argparse

from pipeline.repeated_flag import Repeated
from pipeline.request import CHOICES


def quality_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what is looked for in the rows, and which of them it costs."""
    quality = parser.add_argument_group("quality")
    quality.add_argument(
        "--dedup",
        default="exact",
        metavar="off|exact|near",
        help="leave out rows that stand in the source already, exactly or nearly; the first stays "
        "(exact)",
    )
    quality.add_argument(
        "--decontaminate",
        action=Repeated,
        default=[],
        metavar="NAME|PATH",
        help="look in the rows for 13 words in a row of this benchmark's prompts, or a whole short "
        "prompt; as --dataset, with ,config=C ,split=S ,revision=R behind it (the split test, else "
        "validation, else as for --dataset); may be repeated",
    )
    quality.add_argument(
        "--contaminated",
        default="report",
        metavar="report|drop",
        help="rows that hold them are counted, or left out (report)",
    )
    quality.add_argument(
        "--tokenizer",
        metavar="NAME|PATH",
        help="count tokens with this model's: a hub name, a tokenizer's folder or tokenizer.json",
    )
    quality.add_argument(
        "--max-tokens", type=int, metavar="N", help="the most tokens of a text (no limit)"
    )
    quality.add_argument(
        "--too-long",
        default="reject",
        metavar="|".join(CHOICES["too_long"]),
        help="texts with more: left out, their last response cut, or the run fails (reject)",
    )
    quality.add_argument(
        "--balance",
        action=Repeated,
        default=[],
        metavar="COLUMN",
        help="compare this column's values between train and validation; may be repeated",
    )


def gate_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what a set must be like to be published."""
    gates = parser.add_argument_group(
        "gates", "what a set must be like to be published; else the run fails with exit code 8"
    )
    for name, what, default in (
        ("--max-reject-rate", "rows that are rejected", 0.05),
        ("--max-duplicates", "rows that are duplicates", None),
        ("--max-leakage", "validation rows with a near copy in training", None),
        ("--max-truncated", "rows that are cut to --max-tokens", None),
    ):
        gates.add_argument(
            name,
            type=float,
            default=default,
            metavar="F",
            help=f"the largest share of {what}, 0 to 1 ({default or 'no limit'})",
        )
    gates.add_argument(
        "--min-validation",
        type=int,
        metavar="N",
        help="the fewest validation rows (a warning below 100)",
    )
