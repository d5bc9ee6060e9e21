"""A pipeline is run to its end: errors come back as ours, late and stopped jobs are cancelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.runners.runner import PipelineState
from flink_page import FlinkPage

from pipeline.cli.signals import Stopped
from pipeline.launch import execution
from pipeline.launch.execution import Late, Stalled, Watchdog, execute, hand_over
from transforms.errors import AccessDenied, BadInput, RunnerFailed

RUNNING, DONE, FAILED = PipelineState.RUNNING, PipelineState.DONE, PipelineState.FAILED
CANCELLED = PipelineState.CANCELLED

# As Beam's Java runners report a Python worker's error, which Beam has made anew.
MESSAGE = "a.jsonl: broken\nin two lines"
OF_A_WORKER = f"""java.util.concurrent.ExecutionException: Error received from SDK harness:
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1498, in process
transforms.errors.BadInput: {BadInput(f"{MESSAGE} [while running 'Read/ReadUnits']", MESSAGE)}

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient"""


class Clock:
    """Time passes where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(execution, "time", clock)
    return clock


class Job:
    """A job with scripted states, of which the last one stays; an exception among them is raised.

    ``end`` is what waiting for its end raises.
    """

    def __init__(self, states: Sequence[Any], end: Exception | None = None) -> None:
        self._states, self._end = list(states), end
        self.cancelled = 0

    @property
    def state(self) -> str:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, BaseException):
            raise state
        return str(state)

    def cancel(self) -> None:
        self.cancelled += 1
        self._states = [CANCELLED]

    def wait_until_finish(self) -> None:
        if self._end:
            raise self._end


class Cluster(PortableRunner):
    """A runner of other machines with one scripted job."""

    def __init__(self, job: Job | Exception) -> None:
        super().__init__()
        self._job = job

    def run_portable_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        if isinstance(self._job, Exception):
            raise self._job
        return self._job


def on_cluster(job: Job | Exception, *words: str) -> beam.Pipeline:
    # LOOPBACK: no environment is looked for.
    words = ("--job_name=mine", "--environment_type=LOOPBACK", *words)
    pipeline = beam.Pipeline(runner=Cluster(job), options=PipelineOptions(list(words)))
    _ = pipeline | beam.Impulse()
    return pipeline


def run(pipeline: beam.Pipeline) -> None:
    execute(pipeline, Late(1e9, "nothing"))


class TestErrors:
    def test_of_a_worker_is_ours_again(self) -> None:
        job = Job([RUNNING, FAILED], RuntimeError(OF_A_WORKER))
        with pytest.raises(BadInput) as caught:
            run(on_cluster(job))
        assert str(caught.value) == MESSAGE
        assert job.cancelled == 0

    def test_while_it_is_handed_over_is_ours_again(self) -> None:
        with pytest.raises(BadInput, match=r"a\.jsonl"):
            run(on_cluster(RuntimeError(OF_A_WORKER)))

    def test_that_nobody_knows_is_told_by_its_end(self) -> None:
        text = "beginning" + 5000 * "x" + "the very end\n"
        with pytest.raises(RunnerFailed, match="run again, or with --resume") as caught:
            run(on_cluster(Job([FAILED], RuntimeError(text))))
        said = str(caught.value)
        assert said.endswith("xthe very end")
        assert "beginning" not in said
        assert len(said) < 2000
        assert caught.value.exit_code == 5

    def test_of_the_state_itself_gives_the_job_up(self) -> None:
        job = Job([RUNNING, ConnectionError("the job server is gone"), RUNNING])
        with pytest.raises(RunnerFailed, match="the job server is gone"):
            run(on_cluster(job))
        assert job.cancelled == 1

    def test_of_a_job_that_the_cluster_s_user_cancelled(self) -> None:
        job = Job([RUNNING, CANCELLED], RuntimeError("failed in state CANCELLED: unknown error"))
        with pytest.raises(RunnerFailed, match="CANCELLED"):
            run(on_cluster(job))

    def test_of_a_stream_that_broke_off_is_none_where_the_job_is_done(self) -> None:
        run(on_cluster(Job([RUNNING, RUNNING, DONE], RuntimeError("DEADLINE_EXCEEDED"))))

    def test_of_this_process_is_raised_as_it_is(self) -> None:
        def fail(_: object) -> None:
            raise ZeroDivisionError("a bug")

        pipeline = beam.Pipeline(runner=FnApiRunner())
        _ = pipeline | beam.Impulse() | beam.Map(fail)
        # Beam keeps the class.
        with pytest.raises(ZeroDivisionError, match="a bug"):
            run(pipeline)

    def test_of_ours_in_this_process_has_no_step_in_its_text(self) -> None:
        def fail(_: object) -> None:
            raise AccessDenied("no permission")

        pipeline = beam.Pipeline(runner=FnApiRunner())
        _ = pipeline | beam.Impulse() | beam.Map(fail)
        with pytest.raises(AccessDenied) as caught:
            run(pipeline)
        assert str(caught.value) == "no permission"


def failed(job: Job, watchdog: Watchdog, *words: str) -> str:
    with pytest.raises(RunnerFailed) as caught:
        execute(on_cluster(job, *words), watchdog)
    return str(caught.value)


class TestWatchdogs:
    def test_a_late_job_is_cancelled(self, clock: Clock) -> None:
        job = Job([RUNNING])
        said = failed(job, Late(20, "nothing has happened", "have a look"))
        assert said.startswith("nothing has happened within 20 s, so the job was cancelled")
        assert "It was RUNNING: the job mine; have a look" in said
        assert job.cancelled == 1
        assert 20 <= clock.now < 22

    def test_one_that_ends_in_time_is_not(self) -> None:
        job = Job([*[RUNNING] * 30, DONE])  # two looks a second
        execute(on_cluster(job), Late(20, "nothing has happened"))
        assert job.cancelled == 0

    def test_what_flink_says_of_a_late_one_is_told(self, flink_page: FlinkPage) -> None:
        flink_page.add_job("mine", "b2", "CREATED", 1)
        said = failed(Job([RUNNING]), Late(5, "nothing"), f"--flink_master={flink_page.address}")
        assert f"CREATED: Flink's job mine, see http://{flink_page.address}/#/job/" in said
        assert "/b2/" in said

    def test_a_flink_that_is_gone_hides_not_why_the_job_was_given_up(
        self, flink_page: FlinkPage
    ) -> None:
        flink_page.stop()
        job = Job([RUNNING])
        said = failed(job, Late(5, "nothing"), f"--flink_master={flink_page.address}")
        assert said.startswith("nothing within 5 s")
        assert "no Flink answers" in said
        assert job.cancelled == 1

    def test_a_stalled_job_is_cancelled(self, clock: Clock) -> None:
        # The third unit takes 9 s, the fourth is never finished.
        job = Job([RUNNING])
        said = failed(job, Stalled(10, lambda: 2 if clock.now < 9 else 3))
        assert said.startswith("no further unit was finished for 10 s (3 are)")
        assert job.cancelled == 1
        assert 19 <= clock.now < 21

    def test_a_slow_one_that_goes_on_is_not(self, clock: Clock) -> None:
        job = Job([*[RUNNING] * 200, DONE])
        execute(on_cluster(job), Stalled(10, lambda: int(clock.now / 9)))
        assert clock.now == 100

    def test_a_job_that_begins_with_finished_units_has_its_time(self, clock: Clock) -> None:
        failed(Job([RUNNING]), Stalled(10, lambda: 40))
        assert clock.now >= 10

    def test_a_job_that_cannot_be_cancelled_hides_not_why(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = Job([RUNNING])
        monkeypatch.setattr(job, "cancel", lambda: 1 / 0)
        assert failed(job, Late(1, "nothing")).startswith("nothing within 1 s")


class TestStopping:
    def test_an_interrupted_job_is_cancelled(self) -> None:
        job = Job([RUNNING, Stopped(), RUNNING])
        with pytest.raises(Stopped):
            run(on_cluster(job))
        assert job.cancelled == 1

    def test_also_while_it_is_handed_over(self) -> None:
        job = Job([PipelineState.STARTING, Stopped(), PipelineState.STARTING])
        with pytest.raises(Stopped):
            hand_over(on_cluster(job), 60)
        assert job.cancelled == 1

    def test_one_that_has_ended_is_left_alone(self) -> None:
        job = Job([RUNNING, Stopped(), DONE])
        with pytest.raises(Stopped):
            run(on_cluster(job))
        assert job.cancelled == 0


class TestHandOver:
    @pytest.fixture
    def master(self, flink_page: FlinkPage) -> Iterator[str]:
        return f"--flink_master={flink_page.address}"

    def test_a_job_that_runs_is_left(self) -> None:
        job = Job([PipelineState.STARTING, PipelineState.STARTING, RUNNING])
        said = hand_over(on_cluster(job, "--job_endpoint=h:1"), 60)
        assert said == "the job mine of the job server at h:1"
        assert job.cancelled == 0

    def test_flink_itself_must_have_it(self, flink_page: FlinkPage, master: str) -> None:
        job = Job([RUNNING])  # which says nothing: the job server has begun to send it
        with pytest.raises(RunnerFailed, match=r"has not taken the job within 5 s.*Flink's job"):
            hand_over(on_cluster(job, master), 5)
        assert job.cancelled == 1
        flink_page.add_job("mine", "b2", "RUNNING", 1)
        job = Job([RUNNING])
        assert hand_over(on_cluster(job, master), 5) == (
            f"Flink's job mine, see http://{flink_page.address}/#/job/running/b2/overview"
        )
        assert job.cancelled == 0

    def test_on_spark_there_is_the_master_s_page(self) -> None:
        words = ("--spark_master_url=spark://host:7077", "--job_endpoint=h:1")
        said = hand_over(on_cluster(Job([RUNNING]), *words), 60)
        assert said == ("Spark's application mine, see the master's page, usually http://host:8080")

    def test_one_that_fails_at_once_raises_its_error(self) -> None:
        with pytest.raises(BadInput, match=r"a\.jsonl"):
            hand_over(on_cluster(Job([FAILED], RuntimeError(OF_A_WORKER))), 60)

    def test_also_where_flink_shows_it(self, flink_page: FlinkPage, master: str) -> None:
        flink_page.add_job("mine", "b2", "FAILED", 1)
        with pytest.raises(RunnerFailed, match="no slots"):
            hand_over(on_cluster(Job([FAILED], RuntimeError("no slots")), master), 60)

    def test_one_that_is_done_at_once_is_no_error(self, master: str) -> None:
        assert hand_over(on_cluster(Job([DONE])), 60) == "the job mine"
        assert "Flink's job mine" in hand_over(on_cluster(Job([DONE]), master), 60)
