"""Which runner does the job, and what is refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.request import Request
from pipeline.runners import check_place, options_for, works_elsewhere
from transforms.errors import UsageError


def request(output: str, *words: str, shared: bool = False) -> Request:
    return Request(
        dataset="x.jsonl", output=output, skip_upload=True, beam_args=words,
        shared_filesystem=shared,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        ((), False),
        (("--runner=DirectRunner",), False),
        (("--runner=PrismRunner",), False),
        (("--runner=FlinkRunner",), False),  # an embedded Flink
        (("--runner=FlinkRunner", "--flink_master=[local]"), False),
        (("--runner=FlinkRunner", "--flink_master=flink:8081"), True),
        (
            ("--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=LOOPBACK"),
            False,
        ),
        (("--runner=SparkRunner",), False),
        (("--runner=SparkRunner", "--spark_master_url=local[2]"), False),
        (("--runner=SparkRunner", "--spark_master_url=spark://spark:7077"), True),
        (("--runner=PortableRunner", "--job_endpoint=flink:8099"), True),
        (("--runner=DataflowRunner",), True),
    ],
)
def test_a_local_output_is_refused_where_workers_are_elsewhere(
    tmp_path: Path, words: tuple[str, ...], elsewhere: bool
) -> None:
    local = str(tmp_path / "out")
    asked = request(local, *words)
    options = options_for(asked, 3)
    assert works_elsewhere(options) == elsewhere
    check_place(request("s3://bucket/prefix", *words), options)
    check_place(request(local, *words, shared=True), options)
    if elsewhere:
        with pytest.raises(UsageError, match="--shared-filesystem"):
            check_place(asked, options)
    else:
        check_place(asked, options)
