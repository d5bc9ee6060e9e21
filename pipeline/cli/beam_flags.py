"""The flags of Apache Beam: which exist, and which must not be used because they hold secrets."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.cli.flags import nearest
from transforms.errors import UsageError
from transforms.text.addresses import without_passwords

# Beam shows option values in its logs and on the runner's web pages.
_SECRETS = (
    "--s3_access_key_id",
    "--s3_secret_access_key",
    "--s3_session_token",
    "--azure_connection_string",
)

# Options that set variables of the workers, as JSON or as NAME=VALUE,NAME=VALUE.
_ENVIRONMENTS = ("environment_config", "environment_options", "profiler_extra_env_vars")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)[\"']?\s*[=:]\s*[\"']?[^\s\"',}]")
_SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|_KEY$|_PAT$",
    re.IGNORECASE,
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
    found, unknown = parser.parse_known_args(list(argv))
    for name in _ENVIRONMENTS:
        _check_variables(name, getattr(found, name, None))
    if unknown:
        flag = unknown[0].split("=")[0]
        raise UsageError(f"unknown {flag!r}{nearest(flag, [*own, *known])} (see --help)")


def _check_variables(name: str, given: object) -> None:
    """``UsageError`` where an option sets a variable of the workers that holds a secret."""
    text = " ".join(map(str, given)) if isinstance(given, list) else str(given or "")
    variables = [found[1] for found in _VARIABLE.finditer(text) if _SECRET_NAME.search(found[1])]
    if variables or without_passwords(text) != text:
        held = f"the variable {variables[0]}" if variables else "a password"
        raise UsageError(
            f"--{name} would show {held} on the runner's pages; set it in the environment of the "
            "workers themselves, or give the cluster a role that needs no secret"
        )


def _all_options(base: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    return [one for sub in base.__subclasses__() for one in (sub, *_all_options(sub))]
