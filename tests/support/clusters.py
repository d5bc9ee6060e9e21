"""Real clusters on this machine: a standalone Flink, a standalone Spark, and Beam's worker pool.

Everything listens on free loopback ports, keeps its files in a temporary folder and is ended by its
own process id.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pytest
from cluster_jars import FLINK, collected
from cluster_programs import Program, Programs, command_line
from cluster_workers import WorkerPool, hosts_file

_START_SECONDS = 120.0  # ten are enough; the rest is for a machine that is busy

# What Java 17 must open to both, as their own start scripts do.
_OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        *("java.io", "java.lang", "java.lang.invoke", "java.lang.reflect", "java.net", "java.nio"),
        *("java.text", "java.time", "java.util", "java.util.concurrent"),
        *("java.util.concurrent.atomic", "java.util.concurrent.locks"),
        *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
    )
]

# Many JVMs share few cores here, and most of them end before a second compiler has paid.
_SHORT_LIVED = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# Without the user's proxy: it could not reach this machine's loopback addresses.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class _Cluster:
    """What Flink and Spark have in common; ``rest`` is the address of the web pages.

    ``environment`` is what a command that submits to it needs besides its ``flags``.
    """

    environment: Mapping[str, str] = {"JDK_JAVA_OPTIONS": " ".join(_SHORT_LIVED)}

    def __init__(self) -> None:
        self.parts = collected()
        self._programs = Programs(type(self).__name__)
        self.rest = ""
        try:
            self._start()
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise

    def _start(self) -> None:
        raise NotImplementedError

    def __enter__(self: _C) -> _C:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _java(
        self, name: str, jars: str, *words: str, prefix: Sequence[str] = (), **environment: str
    ) -> Program:
        own = [
            *_SHORT_LIVED,
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={self._programs.folder}",
            *_OPENS,
        ]
        command = [*prefix, "java", *own, "-cp", jars, *words]
        # Nothing else of this process's environment: FLINK_... or SPARK_... would change things.
        kept = {key: os.environ[key] for key in ("PATH", "JAVA_HOME") if key in os.environ}
        bare = {**kept, "HOME": str(self._programs.folder), "LC_ALL": "C.UTF-8"}
        return self._programs.start(name, command, {**bare, **environment})

    def _at(self, host: int) -> dict[str, str]:
        """The environment of a Java program, and of those it starts, on one of the two hosts."""
        names = f"-Djdk.net.hosts.file={hosts_file(self._programs.folder, host)}"
        return {"JDK_JAVA_OPTIONS": " ".join([*_SHORT_LIVED, names])}

    def get(self, path: str) -> Any:
        """The JSON at a path of the web pages; None while nobody answers."""
        try:
            with _open(self.rest + path, timeout=5) as reply:
                return json.load(reply)
        except OSError:
            return None

    def wait(self, what: str, is_so: Callable[[], bool], seconds: float) -> None:
        """Waits until something is so."""
        self._programs.wait(what, is_so, seconds)

    def logs(self) -> str:
        """The end of each program's log."""
        return self._programs.logs()

    def stop(self) -> None:
        """End it for good and delete its files.  May be called twice."""
        self._programs.stop()


_C = TypeVar("_C", bound=_Cluster)


class FlinkCluster(_Cluster):
    """A JobManager and two TaskManagers of two slots each, so that one of them can do the work.

    It has Flink's defaults, by which a job that loses a part of the cluster fails.
    """

    _SETTINGS = """
        jobmanager.rpc.address: {address}
        jobmanager.bind-host: {bind}
        jobmanager.rpc.port: {port}
        rest.address: {address}
        rest.bind-address: {address}
        rest.bind-port: 0
        cluster.evenly-spread-out-slots: true
        # Soon after a TaskManager was killed it is missed; one that is only slow is not.
        heartbeat.interval: 1000
        heartbeat.timeout: 30000
        taskmanager.host: 127.0.0.1
        taskmanager.bind-host: 127.0.0.1
        taskmanager.numberOfTaskSlots: 2
        taskmanager.cpu.cores: 2.0
        taskmanager.memory.framework.heap.size: 128m
        taskmanager.memory.task.heap.size: 384m
        taskmanager.memory.framework.off-heap.size: 128m
        taskmanager.memory.task.off-heap.size: 0
        taskmanager.memory.managed.size: 256m
        # With 64 MB a job fails: "Insufficient number of network buffers".
        taskmanager.memory.network.min: 256m
        taskmanager.memory.network.max: 256m
        taskmanager.memory.jvm-metaspace.size: 256m
        taskmanager.memory.jvm-overhead.min: 192m
        taskmanager.memory.jvm-overhead.max: 192m
        classloader.resolve-order: parent-first
        io.tmp.dirs: {folder}
    """
    _LOGGING = """
        rootLogger.level = INFO
        rootLogger.appenderRef.console.ref = console
        appender.console.name = console
        appender.console.type = CONSOLE
        appender.console.layout.type = PatternLayout
        appender.console.layout.pattern = %d %-5p %c - %m%n
    """

    address = bind = "127.0.0.1"
    """Where the JobManager is reached, and where it listens."""

    def _start(self) -> None:
        self._managers: list[tuple[int, Program]] = []
        folder = self._programs.folder
        (folder / "log4j.properties").write_text(_lines(self._LOGGING))
        while not self.rest:
            # Anybody may take a port between its choice and its use; then the next one is tried.
            settings = self._SETTINGS.format(
                address=self.address, bind=self.bind, port=_free_port(), folder=folder
            )
            (folder / "flink-conf.yaml").write_text(_lines(settings))
            self.rest = self._job_manager()
        names = {self._task_manager(host) for host in (0, 1)}
        self._programs.wait("Flink", lambda: self._registered() >= names, _START_SECONDS)

    def _job_manager(self) -> str:
        """The address of its web pages; "" where its other port was taken."""
        main = "entrypoint.StandaloneSessionClusterEntrypoint"
        program = self._flink("job-manager", main, "--executionMode", "cluster")

        def address() -> str | None:
            if program.code is not None and "BindException" in program.said:
                return "taken"
            return program.find(r"Rest endpoint listening at (\S+)")

        found = self._programs.wait("Flink's JobManager", address, _START_SECONDS)
        return "" if found == "taken" else f"http://{found}"

    def _task_manager(self, host: int) -> str:
        name = f"task-manager-{len(self._managers) + 1}"
        words = ("taskexecutor.TaskManagerRunner", "-D", f"taskmanager.resource-id={name}")
        self._managers.append((host, self._on(host, name, *words)))
        return name

    def _on(self, host: int, name: str, *words: str) -> Program:
        return self._flink(name, *words, **self._at(host))

    def _flink(
        self, name: str, main: str, *words: str, prefix: Sequence[str] = (), **environment: str
    ) -> Program:
        folder = self._programs.folder
        return self._java(
            name,
            # With Beam in the cluster itself workers outlive a stage of their job.
            f"{self.parts.flink_lib}/*:{self.parts.flink_job_server}",
            "-Xmx512m",
            f"-Dlog4j.configurationFile={folder / 'log4j.properties'}",
            f"-Dlog.file={folder / name}.log",  # the web pages show it
            f"org.apache.flink.runtime.{main}",
            *("--configDir", str(folder)),
            *words,
            prefix=prefix,
            **environment,
        )

    def _registered(self) -> set[str]:
        found = self.get("/taskmanagers") or {"taskmanagers": []}
        return {one["id"] for one in found["taskmanagers"] if one["slotsNumber"]}

    def task_managers(self) -> list[int]:
        """The process ids of the TaskManagers that run."""
        return [program.pid for _, program in self._managers if program.code is None]

    def replace_task_manager(self) -> None:
        """Start one in place of one that was killed."""
        held = {host for host, program in self._managers if program.code is None}
        name = self._task_manager(min({0, 1} - held))
        self._programs.wait(name, lambda: name in self._registered(), _START_SECONDS)

    def flags(self) -> list[str]:
        """What a user of this cluster gives to Beam, but for the environment of the workers."""
        return [
            "--runner=FlinkRunner",
            f"--flink_master={self.rest.removeprefix('http://')}",
            f"--flink_version={FLINK.rpartition('.')[0]}",
            f"--flink_job_server_jar={self.parts.flink_job_server}",
            "--parallelism=2",
        ]


class RestartingFlink(FlinkCluster):
    """One that repeats what a lost part has not finished."""

    _SETTINGS = f"""{FlinkCluster._SETTINGS}
        restart-strategy.type: fixed-delay
        restart-strategy.fixed-delay.attempts: 10
        restart-strategy.fixed-delay.delay: 2 s
    """


class SparkCluster(_Cluster):
    """A Master and two Workers of one core each: a job has an executor on both."""

    # Without it the web pages listen on all addresses, and those of the job's driver, too.
    environment = {**_Cluster.environment, "SPARK_LOCAL_IP": "127.0.0.1"}

    def _start(self) -> None:
        master = self._spark("master", "Master", "--host", "127.0.0.1", "--port", "0")

        def said(pattern: str) -> str:
            return self._programs.wait(
                "Spark's Master", partial(master.find, pattern), _START_SECONDS
            )

        self.url = said(r"Starting Spark master at (spark://\S+)")
        self.rest = "http://127.0.0.1:" + said(r"'MasterUI' on port (\d+)")
        where = ["--host", "127.0.0.1", "--port", "0", "--cores", "1", "--memory", "1g"]
        where += ["--work-dir", str(self._programs.folder), self.url]
        self._workers = [
            self._spark(f"worker-{host + 1}", "Worker", *where, **self._at(host)) for host in (0, 1)
        ]
        self._programs.wait("Spark's Workers", lambda: self._alive() == 2, _START_SECONDS)

    def _spark(self, name: str, kind: str, *words: str, **environment: str) -> Program:
        # The web pages of all of them get a free port, too.
        words = ("--webui-port", "0", *words)
        main = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        home = self.parts.spark_home
        # A Worker needs these two to start an executor.
        needed = {"SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.12"}
        environment = {**self.environment, **needed, **environment}
        return self._java(name, f"{home}/jars/*", "-Xmx512m", main, *words, **environment)

    def _alive(self) -> int:
        return (self.get("/json/") or {"aliveworkers": 0})["aliveworkers"]

    def executors(self) -> list[int]:
        """The process ids of the executors of the job that runs."""
        return [
            pid
            for worker in self._workers
            for pid in worker.started()
            if "CoarseGrainedExecutorBackend" in command_line(pid)
        ]

    def flags(self) -> list[str]:
        """What a user of this cluster gives to Beam, but for the environment of the workers."""
        return [
            "--runner=SparkRunner",
            f"--spark_master_url={self.url}",
            f"--spark_job_server_jar={self.parts.spark_job_server}",
        ]


class JobServer:
    """Beam's job server for a Spark, which stays when a launcher ends."""

    def __init__(self, cluster: SparkCluster) -> None:
        self.programs = Programs("job-server")
        self.endpoint = f"127.0.0.1:{_free_port()}"
        ports = [f"--job-port={self.endpoint.rpartition(':')[2]}"]
        ports += ["--artifact-port=0", "--expansion-port=0"]
        jar = str(cluster.parts.spark_job_server)
        words = ["java", *_OPENS, "-jar", jar, f"--spark-master-url={cluster.url}", *ports]
        words.append(f"--artifacts-dir={self.programs.folder}")
        try:
            self.programs.start("server", words, {**os.environ, **cluster.environment})
            self.programs.wait("Beam's job server", self._listens, _START_SECONDS)
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise

    def _listens(self) -> bool:
        host, _, port = self.endpoint.rpartition(":")
        with socket.socket() as sock:
            return sock.connect_ex((host, int(port))) == 0

    def __enter__(self) -> JobServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def flags(self) -> list[str]:
        """What a user of this job server gives to Beam."""
        return ["--runner=PortableRunner", f"--job_endpoint={self.endpoint}"]

    def logs(self) -> str:
        """The end of what it said."""
        return self.programs.logs()

    def stop(self) -> None:
        """End it for good.  May be called twice."""
        self.programs.stop()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _lines(text: str) -> str:
    return "".join(f"{line.strip()}\n" for line in text.strip().splitlines())


@pytest.fixture(scope="session")
def flink() -> Iterator[FlinkCluster]:
    """A Flink for all tests; one that kills a part of it starts its own."""
    with FlinkCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkCluster]:
    """A Spark for all tests; one that kills a part of it starts its own."""
    with SparkCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def worker_pool() -> Iterator[WorkerPool]:
    """Workers with the environment of the tests."""
    with WorkerPool() as pool:
        yield pool
