"""What real clusters are made of: Flink, Spark and Beam's job servers, collected into a cache once.

Beam's ready-made job-server jars are a plain download for users.  Here their parts are collected
with Maven and made into one jar each, as Beam does it.
"""

from __future__ import annotations

import re
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from environments import made_once, pins, pip_download, run
from means import absent

_PINS = pins("clusters")
FLINK, SPARK = _PINS["flink"], _PINS["spark"]

# More than half of Spark: SQL stores, machine learning, other schedulers.  Beam gives a job all the
# jars of its job server, and every executor would fetch these in vain.
_NO_PART_OF_A_JOB = (
    *("arpack*", "breeze*", "datanucleus*", "derby*", "hive*", "kubernetes*", "lapack*", "mesos*"),
    *("orc*", "parquet*", "rocksdbjni*", "scala-compiler*", "spire*"),
    *(f"spark-{part}*" for part in ("hive", "kubernetes", "mesos", "mllib", "repl", "yarn")),
    # Spark's is of 2013; with it the first task on each executor fails in Beam's code for Google's
    # storage.  Beam brings a new one along.
    "guava-*",
)

# A jar's own manifest and signatures say nothing of the whole.
_ABOUT_ONE_JAR = re.compile(r"META-INF/(MANIFEST\.MF|INDEX\.LIST|[^/]+\.(SF|RSA|DSA|EC))")
_POM = Path(__file__).with_name("cluster-pom.xml")


@dataclass(frozen=True)
class Distributions:
    """Where everything is: the job servers' jars, Flink's `lib` and Spark's home."""

    root: Path

    @property
    def flink_job_server(self) -> Path:
        return self.root / "flink-job-server.jar"

    @property
    def spark_job_server(self) -> Path:
        return self.root / "spark-job-server.jar"

    @property
    def flink_lib(self) -> Path:
        return self.root / "flink" / "lib"

    @property
    def spark_home(self) -> Path:
        return self.root / "spark"


def collected() -> Distributions:
    """The distributions, collected first if this machine has none yet."""
    if sys.platform != "linux":
        absent("needs Linux for clusters: every address that begins with 127, and /proc")
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            absent(f"needs Java and Maven for clusters, and there is no `{program}` on the PATH")
    return Distributions(made_once("clusters", lambda folder: _collect(Distributions(folder))))


def _collect(to: Distributions) -> None:
    flink, spark = to.root / "beam-flink", to.root / "beam-spark"
    _unpack(f"apache-flink-libraries=={FLINK}", "deps/lib", to.flink_lib)
    _unpack(f"pyspark=={SPARK}", "deps/jars", to.spark_home / "jars", *_NO_PART_OF_A_JOB)
    _copy_jars(f"beam-runners-flink-{FLINK.rpartition('.')[0]}", flink)
    _copy_jars(f"beam-runners-spark-{SPARK.partition('.')[0]}", spark)
    _one_jar(to.flink_job_server, "org.apache.beam.runners.flink.FlinkJobServerDriver", [flink])
    _one_jar(
        to.spark_job_server,
        "org.apache.beam.runners.spark.SparkJobServerDriver",
        [spark, to.spark_home / "jars"],
    )
    for parts in (flink, spark):
        shutil.rmtree(parts)


def _unpack(requirement: str, wanted: str, to: Path, *without: str) -> None:
    """A folder of a package's source archive; pip would install much that is not needed."""
    with tempfile.TemporaryDirectory() as temporary:
        archive = pip_download(requirement, Path(temporary), "--no-binary", ":all:")
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        (top,) = (path for path in Path(temporary).iterdir() if path.is_dir())
        shutil.copytree(top / wanted, to, ignore=shutil.ignore_patterns(*without))


def _copy_jars(runner: str, to: Path) -> None:
    maven = ("mvn", "--quiet", "--batch-mode", "--file", str(_POM))
    goal = ("dependency:copy-dependencies", f"-DoutputDirectory={to}")
    beam, service = _PINS["beam"], _PINS["job-service"]
    versions = (f"-Drunner={runner}", f"-Dbeam={beam}", f"-Djob.service={service}")
    # Spark's own classes must be those of the cluster.
    run(*maven, *goal, *versions, "-DexcludeGroupIds=org.apache.spark")


def _one_jar(path: Path, main_class: str, folders: Sequence[Path]) -> None:
    """All classes in one jar, of each artifact the first one found.

    Flink takes jars one by one and a tenth of a second for each, so that 160 of them cost more
    than the job.
    """
    jars: dict[str, Path] = {}
    for folder in folders:
        for jar in sorted(folder.glob("*.jar")):
            jars.setdefault(re.split(r"-\d", jar.name)[0], jar)
    services: dict[str, list[bytes]] = {}
    taken: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        lines = ("Manifest-Version: 1.0", f"Main-Class: {main_class}", "Multi-Release: true")
        whole.writestr("META-INF/MANIFEST.MF", "".join(f"{line}\r\n" for line in lines))
        for jar in jars.values():
            with zipfile.ZipFile(jar) as part:
                for name in part.namelist():
                    if name.startswith("META-INF/services/") and not name.endswith("/"):
                        services.setdefault(name, []).append(part.read(name))
                    elif name not in taken and not _ABOUT_ONE_JAR.fullmatch(name):
                        taken.add(name)
                        whole.writestr(name, part.read(name))
        for name, parts in services.items():
            whole.writestr(name, b"\n".join(parts))
