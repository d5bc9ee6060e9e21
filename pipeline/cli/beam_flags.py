"""The flags of Apache Beam: which exist, and which must not be used because they hold secrets."""

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


def check(argv: Sequence[str], own: Sequence[str]) -> None:
    """Checks the arguments that are left for Beam.

    Args:
        argv: the arguments.
        own: the flags and commands of this program, for a hint at the nearest one.

    Raises:
        UsageError: an argument is no flag of Beam, has a wrong value, or holds a secret.
    """
    for argument in argv:
        flag = argument.split("=")[0]
        if flag in _SECRETS:
            raise UsageError(
                f"{flag} would show a secret on the runner's pages; set the AWS or "
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
    _, unknown = parser.parse_known_args(list(argv))
    if unknown:
        flag = unknown[0].split("=")[0]
        raise UsageError(f"unknown {flag!r}{nearest(flag, [*own, *known])} (see --help)")


def _all_options(base: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    return [one for sub in base.__subclasses__() for one in (sub, *_all_options(sub))]
