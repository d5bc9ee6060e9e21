"""What lies in `deploy/` fits its schemas, the versions that are tested, and our own flags.

There is no container engine here: no image is built and no cluster is made of these files.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam
import jsonschema
import kubernetes_validate
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions
from cluster_jars import FLINK, SPARK
from environments import go_program, made_once, pins, run
from means import REPOSITORY, absent
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipeline.cli.main import parse
from pipeline.launch.runners import works_elsewhere
from transforms.storage.s3.uri import is_s3

DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = [DOCKERFILE, COMPOSE, *MANIFESTS, DEPLOY / "README.md"]

# The oldest that starts a sidecar before the other containers, and the newest that is known here.
KUBERNETES = ("1.29", kubernetes_validate.latest_version())

POOL_PORT = 50000  # Beam's entry point knows no other

Object = dict[str, Any]


# ---- what checks them


@pytest.fixture(scope="module")
def flink_schema() -> Object:
    """The schema of a FlinkDeployment, from the operator itself."""
    artifact = pins("flink-operator")["artifact"]

    def copy_jar(folder: Path) -> None:
        if shutil.which("mvn") is None:
            absent("needs Maven for Flink's operator, and there is no `mvn` on the PATH")
        goal = ("dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
        run("mvn", "--quiet", "--batch-mode", *goal)

    (jar,) = made_once("flink-operator", copy_jar).glob("*.jar")
    with zipfile.ZipFile(jar) as parts:
        text = parts.read("META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml")
    (version,) = yaml.safe_load(text)["spec"]["versions"]
    assert version["name"] == "v1beta1"
    schema: Object = version["schema"]["openAPIV3Schema"]
    _close(schema)
    return schema


def _close(schema: Object) -> None:
    """Let it refuse what it does not name: a cluster would drop that without a word."""
    named = schema.get("properties", {})
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    others = (schema.get("additionalProperties"), schema.get("items"))
    for part in [*named.values(), *(other for other in others if isinstance(other, dict))]:
        _close(part)


def flink_says(deployment: Object, schema: Object) -> str:
    """What the operator would not take of a FlinkDeployment, or Kubernetes of its pods."""
    # Kubernetes itself has the schema of the other parts.
    others = ("apiVersion", "kind", "metadata")
    own = {name: value for name, value in deployment.items() if name not in others}
    for error in jsonschema.Draft202012Validator(schema).iter_errors(own):
        return _said(error)
    # The operator's schema knows the fields of pods, but not which of them must be there.
    for part in ("jobManager", "taskManager"):
        template = deployment["spec"][part]["podTemplate"]
        said = kubernetes_says({"apiVersion": "v1", "kind": "PodTemplate", "template": template})
        if said:
            return said
    return ""


def kubernetes_says(resource: Object) -> str:
    """What Kubernetes would not take of a resource."""
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except jsonschema.ValidationError as error:
            return _said(error)
    return ""


def _said(error: jsonschema.ValidationError) -> str:
    return f"{error.json_path}: {error.message[:300]}"


def compose_says(text: str, folder: Path) -> tuple[int, str]:
    """The exit code of Compose's loader for a compose file, and what it printed."""
    (folder / "compose.yaml").write_text(text)
    done = subprocess.run(
        [str(go_program("compose-go")), "--format=json", "compose.yaml"],
        cwd=folder,
        env={"COMPOSE_PROFILES": "*", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr


def hadolint_says(text: str) -> str:
    """What hadolint finds in a Dockerfile."""
    # Beside this interpreter, whose folder need not be on the PATH.
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        absent("needs hadolint, which `pip` has for few kinds of machine")
    run = subprocess.run(
        [program, "--no-color", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr == ""
    assert (run.returncode != 0) == bool(run.stdout)
    return run.stdout


# ---- what they hold


def documents(*paths: Path) -> Iterator[tuple[str, Object]]:
    """(name for messages, object) of each YAML document."""
    for path in paths:
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.name}:{document['kind']}", document


def the(kind: str) -> Object:
    """The only manifest of a kind, for a test to change."""
    (found,) = (one for _, one in documents(*MANIFESTS) if one["kind"] == kind)
    return found


def pod_specs() -> list[Any]:
    """Each pod of the manifests, as a pytest parameter."""
    found = {}
    for name, document in documents(*MANIFESTS):
        for part in ("jobManager", "taskManager"):
            if document["kind"] == "FlinkDeployment":
                found[f"{name}.{part}"] = document["spec"][part]["podTemplate"]["spec"]
        if document["kind"] in ("Deployment", "Job"):
            found[f"{name}.{document['metadata'].get('name', '')}"] = document["spec"]["template"][
                "spec"
            ]
    return [pytest.param(spec, id=name) for name, spec in found.items()]


def pools() -> list[Any]:
    """The pods that have a worker pool."""
    return [param for param in pod_specs() if "initContainers" in param.values[0]]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def services() -> Object:
    found: Object = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def defaults() -> dict[str, str]:
    """The Dockerfile's arguments."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE))


def commands() -> Iterator[tuple[str, str]]:
    """(name for messages, command line) of every command in the headers and in the README."""
    for path in FILES:
        text = path.read_text()
        if path.suffix == ".md":
            lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
                     for line in block.splitlines()]  # fmt: skip
        else:
            header = re.match(r"(#.*\n)+", text)
            assert header, path
            lines = [line[4:] for line in header[0].splitlines() if line.startswith("#   ")]
        joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
        for line in joined.splitlines():
            if line:
                yield path.name, line


def submitted() -> list[Any]:
    """The flags of every command that submits a job, and of every Job."""
    found = []
    for name, line in commands():
        ours = re.search(r"python -m pipeline (.*)| launcher (--.*)", line)
        if ours:
            found.append(pytest.param(shlex.split(ours[1] or ours[2]), id=name))
    for name, document in documents(*MANIFESTS):
        if document["kind"] == "Job":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            found.append(pytest.param(container["args"], id=name))
    return found


# ---- schemas


def test_the_flink_deployment_fits_the_operator_s_schema(flink_schema: Object) -> None:
    assert flink_says(the("FlinkDeployment"), flink_schema) == ""


@pytest.mark.parametrize(
    "resource",
    [
        pytest.param(one, id=name)
        for name, one in documents(*MANIFESTS)
        if one["kind"] != "FlinkDeployment"
    ],
)
def test_a_manifest_fits_kubernetes_schema(resource: Object) -> None:
    assert kubernetes_says(resource) == ""


def _set(value: Any, *path: str | int) -> Callable[[Any], None]:
    def change(tree: Any) -> None:
        for step in path[:-1]:
            tree = tree[step]
        tree[path[-1]] = value

    return change


_POD = ("spec", "taskManager", "podTemplate", "spec")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("v9_99", "spec", "flinkVersion"), "$.spec.flinkVersion: 'v9_99' is not one of"),
        (_set(2, "spec", "flinkConfiguration", "x"), "$.spec.flinkConfiguration.x: 2 is not of"),
        (_set(2, "spec", "taskManager", "slots"), "('slots' was unexpected)"),
        (_set({}, *_POD, "initContainers", 0, "probe"), "('probe' was unexpected)"),
        (_set([{"image": "x"}], *_POD, "containers"), "'name' is a required property"),
    ],
)
def test_a_broken_flink_deployment_is_refused(
    flink_schema: Object, change: Callable[[Any], None], said: str
) -> None:
    broken = the("FlinkDeployment")
    change(broken)
    assert said in flink_says(broken, flink_schema)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("two", "spec", "replicas"), "$.spec.replicas: 'two' is not of type"),
        (_set({}, "spec", "selectors"), "('selectors' was unexpected)"),
        (
            _set([{"image": "x"}], "spec", "template", "spec", "containers"),
            "'name' is a required property",
        ),
        (_set({"spec": {}}, "spec", "template"), "'containers' is a required property"),
    ],
)
def test_a_broken_manifest_is_refused(change: Callable[[Any], None], said: str) -> None:
    broken = next(one for _, one in documents(*MANIFESTS) if one["kind"] == "Deployment")
    change(broken)
    assert said in kubernetes_says(broken)


def test_compose_loads_its_file(tmp_path: Path) -> None:
    code, said = compose_says(COMPOSE.read_text(), tmp_path)
    assert code == 0, said
    assert json.loads(said)["services"].keys() == services().keys()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("network_mode:", "networkmode:"),
        ("depends_on: [jobmanager]", "depends_on: 1"),
        ("cap_drop: [ALL]", "cap_drop: ALL"),
        ("command: jobmanager", "command: {}"),
    ],
)
def test_a_broken_compose_file_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = COMPOSE.read_text()
    assert old in text
    code, _ = compose_says(text.replace(old, new), tmp_path)
    assert code != 0


def test_hadolint_finds_nothing() -> None:
    assert hadolint_says(DOCKERFILE.read_text()) == ""


def test_hadolint_finds_what_is_wrong() -> None:
    text = DOCKERFILE.read_text()
    assert "DL3042" in hadolint_says(text.replace(" --no-cache-dir", ""))
    assert "DL3006" in hadolint_says(text.replace(":${BEAM_VERSION}", ""))


# ---- versions


def test_the_image_has_the_beam_and_the_python_of_the_project() -> None:
    beam, python = defaults()["BEAM_VERSION"], defaults()["PYTHON_VERSION"]
    setup = (REPOSITORY / "setup.py").read_text()
    wanted = re.search(r'"(apache-beam[^"]*)"', setup)
    supported = re.search(r'python_requires="([^"]*)"', setup)
    typed = re.search(r'^python_version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(),
                      re.MULTILINE)  # fmt: skip
    assert wanted and supported and typed
    assert beam == apache_beam.__version__
    assert beam in Requirement(wanted[1]).specifier
    assert python in SpecifierSet(supported[1])
    assert python == typed[1]


def test_the_clusters_are_of_the_versions_that_are_tested() -> None:
    images = {image for path in FILES for image in _images(path.read_text())}
    assert {image for image in images if "flink" in image} == {f"flink:{FLINK}-java17"}
    assert {image for image in images if "spark" in image} == {
        f"apache/spark:{SPARK}-scala2.12-java17-ubuntu"
    }
    minor = FLINK.rpartition(".")[0]
    assert the("FlinkDeployment")["spec"]["flinkVersion"] == f"v{minor.replace('.', '_')}"
    texts = "".join(path.read_text() for path in FILES)
    assert set(re.findall(r"--flink_version=(\S+)", texts)) == {minor}
    # An executor must read what the driver, in the launcher, has serialized.
    assert defaults()["JRE_VERSION"].startswith("17.")


def _images(text: str) -> list[str]:
    return re.findall(r"^\s*(?:- )?image: (\S+)$", text, re.MULTILINE)


def test_every_image_has_a_version_and_ours_is_the_project_s() -> None:
    setup = re.search(r'\bversion="(.*?)"', (REPOSITORY / "setup.py").read_text())
    assert setup
    for path in FILES:
        text = path.read_text()
        for image in _images(text):
            assert re.search(r":\d+\.\d+\.\d+", image), f"{path.name}: {image}"
        for version in re.findall(r"reasonforge-data-(?:worker|launcher):(\S+)", text):
            assert version == setup[1], path.name
    labels = re.findall(r'image\.version="(.*?)"', DOCKERFILE.read_text())
    assert labels == [setup[1]]


# ---- our own flags


def test_there_are_commands_for_both_clusters_in_compose_and_kubernetes() -> None:
    found = [(param.id, word) for param in submitted() for word in param.values[0]]
    for name in ("compose.yaml", "flink-job.yaml:Job"):
        assert (name, "--runner=FlinkRunner") in found
    for name in ("compose.yaml", "spark-job.yaml:Job"):
        assert (name, "--runner=SparkRunner") in found


@pytest.mark.parametrize("words", submitted())
def test_a_command_has_flags_that_we_or_beam_know(words: list[str]) -> None:
    _, _, request = parse(words)
    options = PipelineOptions(list(request.beam_args))
    environment = options.view_as(PortableOptions)
    assert is_s3(request.output)
    assert works_elsewhere(options)
    assert environment.environment_type == "EXTERNAL"
    assert environment.environment_config == f"localhost:{POOL_PORT}"


def test_a_command_with_an_unknown_flag_is_refused() -> None:
    words = copy.copy(submitted()[0].values[0])
    with pytest.raises(Exception, match="flink_masters"):
        parse([*words, "--flink_masters=x"])


def test_commands_name_files_and_services_that_are_there() -> None:
    lines = [line for _, line in commands()]
    names = {word for line in lines for word in re.findall(r"\bdeploy/[\w./-]+", line)}
    assert names >= {path.relative_to(REPOSITORY).as_posix() for path in FILES[:-1]}
    assert [name for name in names if not (REPOSITORY / name).is_file()] == []
    texts = "".join(path.read_text() for path in FILES)
    flink = {"jobmanager", f"{the('FlinkDeployment')['metadata']['name']}-rest"}
    assert set(re.findall(r"--flink_master=([\w-]+):8081", texts)) == flink
    assert set(re.findall(r"--spark_master_url=(\S+)", texts)) == {"spark://spark-master:7077"}
    assert {"jobmanager", "spark-master", "launcher"} <= services().keys()
    assert the("Service")["metadata"]["name"] == "spark-master"


def test_jobs_stay_within_the_slots_of_flink() -> None:
    settings = the("FlinkDeployment")["spec"]["flinkConfiguration"]
    texts = (DEPLOY / "kubernetes" / "flink-job.yaml").read_text()
    (parallelism,) = re.findall(r"--parallelism=(\d+)", texts)
    assert int(parallelism) <= int(settings["slotmanager.number-of-slots.max"])


# ---- worker pools


@pytest.mark.parametrize("pod", pools())
def test_a_pool_is_up_before_its_cluster_s_part_and_shares_no_files_with_it(pod: Object) -> None:
    (pool,) = pod["initContainers"]
    (main,) = pod["containers"]
    assert pool["args"] == ["--worker_pool"]
    assert pool["restartPolicy"] == "Always"
    (port,) = pool["ports"]
    assert port["containerPort"] == POOL_PORT
    assert pool["startupProbe"]["tcpSocket"]["port"] == port["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    (scratch,) = pool["volumeMounts"]
    assert {"name": "TMPDIR", "value": scratch["mountPath"]} in pool["env"]
    assert volumes[scratch["name"]]["emptyDir"]["sizeLimit"]
    assert scratch["name"] not in [mount["name"] for mount in main.get("volumeMounts", ())]


def test_flink_and_spark_both_have_pools() -> None:
    kinds = [str(param.id) for param in pools()]
    assert kinds == ["flink.yaml:FlinkDeployment.taskManager", "spark.yaml:Deployment.spark-worker"]


@pytest.mark.parametrize("pod", pod_specs())
def test_nothing_runs_as_root_and_our_images_as_the_user_that_they_have(pod: Object) -> None:
    (ours,) = re.findall(r"^RUN useradd --uid (\d+) ", DOCKERFILE.read_text(), re.MULTILINE)
    assert f"\nUSER {ours}:{ours}\n" in DOCKERFILE.read_text()
    for container in containers(pod):
        context = container["securityContext"]
        assert context["runAsNonRoot"]
        assert not context["allowPrivilegeEscalation"]
        if "reasonforge" in container.get("image", ""):
            assert context["runAsUser"] == int(ours)


def test_flink_has_enough_network_memory() -> None:
    text = COMPOSE.read_text() + (DEPLOY / "kubernetes" / "flink.yaml").read_text()
    assert re.findall(r"taskmanager.memory.network.min: (\S+)", text) == ["256m", "256m"]


def test_each_pool_of_compose_is_in_the_network_of_a_part_that_is_there() -> None:
    for name, service in services().items():
        assert set(service.get("depends_on", ())) <= services().keys(), name
    networks = {
        name: service["network_mode"]
        for name, service in services().items()
        if service.get("command") == ["--worker_pool"]
    }
    assert networks == {
        "flink-pool": "service:taskmanager",
        "spark-pool": "service:spark-worker",
    }
    assert {"taskmanager", "spark-worker"} <= services().keys()


# ---- secrets, and what goes into the image


def test_secrets_come_from_the_environment_and_from_a_secret() -> None:
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            assert value is None or not name.startswith(("AWS_", "HF_")), name
    for param in pod_specs():
        for container in containers(param.values[0]):
            names = [one["name"] for one in container.get("env", ())]
            assert [name for name in names if name.startswith(("AWS_", "HF_"))] == []
            if "reasonforge" in container.get("image", ""):
                assert container["envFrom"] == [{"secretRef": {"name": "reasonforge-data"}}]


def test_the_build_is_sent_what_setup_needs_and_nothing_else() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    sent = {line[1:] for line in lines if line.startswith("!")}
    assert sent == {"README.md", "pipeline", "pyproject.toml", "setup.py", "transforms"}
    assert "\n*\n" in (DEPLOY / "Dockerfile.dockerignore").read_text()
    assert [name for name in sent if not (REPOSITORY / name).exists()] == []
