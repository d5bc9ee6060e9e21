"""Beam's worker pools, one for each of the two hosts that this machine pretends to be.

A pool starts a Python process whenever a runner's process asks for one, and knows it by an id that
is unique within the runner's process alone.  Where two of those share a pool, one stops the other's
workers, and the job hangs.  So each of them has a pool of its own, as in a pod, at one and the same
address: a name that each of them resolves differently (see `hosts_file`).

The pools are this file, run as a script: Beam's own entry point would listen on all addresses.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster_programs import Programs

_NAME = "beam-workers"
_HOSTS = ("127.0.0.2", "127.0.0.3")  # to Linux, all that begins with 127 is loopback
_START_SECONDS = 60.0


def hosts_file(folder: Path, host: int) -> Path:
    """For `-Djdk.net.hosts.file`: the names that a Java program on host 0 or 1 can resolve."""
    path = folder / f"hosts-{host}"
    path.write_text(f"127.0.0.1 localhost {socket.gethostname()}\n{_HOSTS[host]} {_NAME}\n")
    return path


class WorkerPool:
    """A running pool on each host.

    `python` is the interpreter of the pools and, where `path` is not given, of their workers: they
    take what comes first on the PATH, which begins with `path`.  They have the environment `env`
    and the temporary folder `temporary`, or one of their own.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        python: Path = Path(sys.executable),
        temporary: Path | None = None,
        path: Path | None = None,
    ) -> None:
        environment = dict(os.environ if env is None else env)
        environment["PATH"] = f"{path or python.parent}{os.pathsep}{environment.get('PATH', '')}"
        self._programs = Programs("workers")
        environment["TMPDIR"] = str(temporary or self._programs.folder)
        try:
            self._pools = self._programs.start("pools", [str(python), __file__], environment)
            self._port = self._programs.wait(
                "the worker pools", lambda: self._pools.find(r"port (\d+)\n"), _START_SECONDS
            )
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The same for both hosts; it means nothing to other programs."""
        return f"{_NAME}:{self._port}"

    def flags(self) -> list[str]:
        """What a user of these pools gives to Beam."""
        return ["--environment_type=EXTERNAL", f"--environment_config={self.address}"]

    def workers(self) -> list[int]:
        """The process ids of the workers that run, the oldest first."""
        return self._pools.started()

    def kill_worker(self) -> int:
        """Kill the oldest worker (SIGKILL); returns its process id."""
        pid = self.workers()[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def logs(self) -> str:
        """The end of what the pools and their workers said."""
        return self._programs.logs()

    def stop(self) -> None:
        """End them and their workers, and delete their files.  May be called twice."""
        self._programs.stop()


# ---- the pools' own process


def _serve() -> None:
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2_grpc
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    # The first two are Beam's.  By the last a port that somebody has is refused, not shared.
    options = [
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.so_reuseport", 0),
    ]
    port, servers = 0, []
    while len(servers) < len(_HOSTS):
        server = grpc.server(ThreadPoolExecutor(), options=options)
        try:
            port = server.add_insecure_port(f"{_HOSTS[len(servers)]}:{port}")
        except RuntimeError:  # the first host's port is taken on the second: another one
            port, servers = 0, []
            continue
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
            BeamFnExternalWorkerPoolServicer(use_process=True, data_buffer_time_limit_ms=-1), server
        )
        servers.append(server)
    for server in servers:
        server.start()
    print(f"port {port}", flush=True)
    for server in servers:
        server.wait_for_termination()


if __name__ == "__main__":
    _serve()
