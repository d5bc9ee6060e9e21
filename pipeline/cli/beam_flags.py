"""Which flags Beam knows, and which must never be given as a flag."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli.flags import nearest
from transforms.errors import UsageError

# Beam shows option values in its logs and on the runner's web pages.
_SECRETS = (
    "--s3_access_key_id",
    "--s3_secret_access_key",
    "--s3_session_token",
    "--azure_connection_string",
)

# Options of the Java runners that matter to a batch job; Beam learns them from its job server only.
# https://beam.apache.org/documentation/runners/flink/#flink-runner-pipeline-options
_OF_JOB_SERVERS = (
    "--execution_mode_for_batch",
    "--object_reuse",
    "--bundle_size",
    "--storage_level",
)


class _BeamParser(ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UsageError(f"Apache Beam does not take this: {message}")


def check(words: Sequence[str], own: Sequence[str]) -> None:
    """``UsageError`` for a word that is no flag of Beam's, naming the nearest flag of either."""
    for word in words:
        if word.split("=")[0] in _SECRETS:
            raise UsageError(
                f"{word.split('=')[0]} would show a secret on the runner's pages; set the AWS or "
                "Azure environment variables instead"
            )
    parser = _BeamParser(allow_abbrev=False, add_help=False)
    for options in _all_options(PipelineOptions):
        try:
            options._add_argparse_args(parser)
        except Exception as error:  # noqa: BLE001 (argparse's own conflict error is private)
            if "conflicting option" not in str(error):
                raise
    for name in _OF_JOB_SERVERS:
        parser.add_argument(name)
    known = [option for action in parser._actions for option in action.option_strings]
    _, unknown = parser.parse_known_args(list(words))
    if unknown:
        word = unknown[0].split("=")[0]
        raise UsageError(f"unknown {word!r}{nearest(word, [*own, *known])} (see --help)")


def _all_options(base: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    return [one for sub in base.__subclasses__() for one in (sub, *_all_options(sub))]
