"""Two worker hosts on one machine: network namespaces that share no folder, and a Flink on them.

Each has a TaskManager and a worker pool, which is Beam's own program at its own port, as in a pod.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from cluster_programs import Program, Programs
from clusters import FlinkCluster

_POOL_PORT = 50000  # as Beam's container has it; a new namespace has all ports free
_START_SECONDS = 60.0
_HIDDEN = 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"'


class Hosts:
    """Two namespaces on a network of their own, in which `folder` is an empty one of each."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._held = folder, ExitStack()
        tag = f"{os.getpid() % 10000}"
        # Of the range for tests of networks (RFC 2544), so that it is nobody's.
        net = f"198.18.{os.getpid() % 250}"
        self.names, self.address = [f"rf{tag}-{host}" for host in (1, 2)], f"{net}.254"
        self.addresses = [f"{net}.1", f"{net}.2"]
        bridge = f"rfb{tag}"
        try:
            self._link("link", "add", bridge, "type", "bridge", undo=("link", "del", bridge))
            self._link("addr", "add", f"{self.address}/24", "dev", bridge)
            self._link("link", "set", bridge, "up")
            for host, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
                outer, inner = f"rfo{tag}{host}", f"rfi{tag}{host}"
                self._link("netns", "add", name, undo=("netns", "del", name))
                self._link("link", "add", outer, "type", "veth", "peer", "name", inner)
                self._link("link", "set", outer, "master", bridge, "up")
                self._link("link", "set", inner, "netns", name)
                self._link("-n", name, "addr", "add", f"{address}/24", "dev", inner)
                for device in ("lo", inner):
                    self._link("-n", name, "link", "set", device, "up")
        except BaseException:
            self.stop()
            raise

    def inside(self, host: int) -> list[str]:
        """What to put before a command that is to run on a host."""
        unshared = ["unshare", "--mount", "--propagation", "private"]
        shell = ["sh", "-c", _HIDDEN, "sh", str(self._folder)]
        return ["ip", "netns", "exec", self.names[host], *unshared, *shell]

    def stop(self) -> None:
        """Takes them away.  May be called twice."""
        self._held.close()

    def _link(self, *words: str, undo: tuple[str, ...] = ()) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
        if undo:
            self._held.callback(subprocess.run, ["ip", *undo], check=False, capture_output=True)


class FlinkOnHosts(FlinkCluster):
    """A JobManager on this machine, a TaskManager on each host."""

    bind = "0.0.0.0"  # its parts reach each other by loopback, the hosts by their network

    def __init__(self, hosts: Hosts) -> None:
        self._hosts, self.address = hosts, hosts.address
        super().__init__()

    def _on(self, host: int, name: str, *words: str) -> Program:
        address = self._hosts.addresses[host]
        where = [f"taskmanager.host={address}", f"taskmanager.bind-host={address}"]
        flags = [word for one in where for word in ("-D", one)]
        return self._flink(name, *words, *flags, prefix=self._hosts.inside(host))


class PoolOnHosts:
    """Beam's worker pool on each host, with an environment."""

    def __init__(self, hosts: Hosts, environment: Mapping[str, str]) -> None:
        self._programs = Programs("pools")
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        whole = {**environment, "PATH": path, "TMPDIR": str(self._programs.folder)}
        main = "apache_beam.runners.worker.worker_pool_main"
        try:
            for host in (0, 1):
                command = [sys.executable, "-m", main, f"--service_port={_POOL_PORT}"]
                pool = self._programs.start(
                    f"pool-{host + 1}", [*hosts.inside(host), *command], whole
                )
                self._programs.wait(
                    "a pool", lambda pool=pool: pool.find("(Started worker pool)"), _START_SECONDS
                )
        except BaseException:  # Ctrl-C, too
            self.stop()
            raise

    def flags(self) -> list[str]:
        """What a user of these pools gives to Beam."""
        return ["--environment_type=EXTERNAL", f"--environment_config=localhost:{_POOL_PORT}"]

    def logs(self) -> str:
        """The end of what they said."""
        return self._programs.logs()

    def stop(self) -> None:
        """End them and their workers.  May be called twice."""
        self._programs.stop()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Two hosts, which see nothing of `tmp_path`; skipped where this machine may not make them."""
    probe = ["unshare", "--mount", "--net", "true"]
    if os.geteuid() != 0 or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make network and mount namespaces")
    try:
        hosts = Hosts(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "")
        pytest.skip(f"needs network namespaces, and they cannot be made: {error} {said}")
    yield hosts
    hosts.stop()
