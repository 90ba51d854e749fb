"""The image, compose and Kubernetes files of deploy/, as far as they go without an engine."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

from servers import NUTHATCH, ROOT, Server, announced_port, running
from wire import Wire

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker/Dockerfile"
COMPOSE = DEPLOY / "compose/compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
# The oldest one that its project still mends, and the newest that the validator knows.
KUBERNETES_VERSIONS = ["1.33", "1.37"]
SCRIPTS = Path(sys.executable).parent
MEBIBYTE = 1 << 20


def instructions(word):
    """What follows `word` in the Dockerfile, with lines that go on joined."""
    text = DOCKERFILE.read_text().replace("\\\n", "")
    return re.findall(rf"^{word} (.*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder with what the image has: from the Dockerfile's own commands, and the libraries of its base."""
    root = tmp_path_factory.mktemp("image")
    (assemble,) = [command for command in instructions("RUN") if "/image" in command]
    assemble = assemble.replace("target/release/nuthatch", NUTHATCH).replace("/image", str(root))
    subprocess.run(["sh", "-e", "-c", assemble], check=True)
    linked = subprocess.run(["ldd", NUTHATCH], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, root / library[1:])
    # Others than root go through it.
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    return root


@contextmanager
def contained(image, *command):
    """Runs a command as the image's user with the image as its root; it has to serve."""
    (user,) = instructions("USER")
    port_file = image / "var/lib/nuthatch/port"
    port_file.unlink(missing_ok=True)
    environment = {
        "PATH": "/usr/local/bin",
        "MEMCACHED_PORT_FILENAME": "/var/lib/nuthatch/port",
        "NUTHATCH_ADMIN": "none",
    }
    command = ["/usr/sbin/chroot", f"--userspec={user}", image, *command]
    process = subprocess.Popen(command, env=environment)
    try:
        yield Server("nuthatch", announced_port(process, port_file), process.pid)
    finally:
        process.terminate()
        assert process.wait(10) == 0


def memory_of(server):
    with Wire(server.endpoint) as wire:
        assert wire.ask(b"set k 0 0 1\r\nv") == b"STORED"
        wire.socket.sendall(b"stats\r\n")
        stats = iter(wire.line, b"END")
        return {line.split()[1]: line.split()[2] for line in stats}[b"limit_maxbytes"]


@pytest.mark.parametrize(
    "arguments",
    [["-m", "32"], ["memcached", "-m", "32"], ["-m 32"], ["-m32", "-u", "memcache"]],
    ids=" ".join,
)
def test_the_image_takes_the_arguments_of_memcacheds_image(image, arguments):
    (entrypoint,) = instructions("ENTRYPOINT")
    with contained(image, *json.loads(entrypoint), *arguments, "-p", "-1") as server:
        assert memory_of(server) == b"%d" % (32 * MEBIBYTE)


def test_a_command_called_memcached_is_found_in_the_image(image):
    with contained(image, "memcached", "-m", "32", "-p", "-1") as server:
        assert memory_of(server) == b"%d" % (32 * MEBIBYTE)


def test_composes_check_of_health_works_in_the_image(image):
    (check,) = {
        tuple(service["healthcheck"]["test"])
        for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items()
        if name.startswith("nuthatch-")
    }
    assert check == ("CMD", "nuthatch", "ping")
    command = ["/usr/sbin/chroot", "--userspec=11211:11211", image, *check[1:]]
    environment = {"PATH": "/usr/local/bin"}
    with contained(image, "memcached", "-p", "-1") as server:
        # In a container it is the one that listens at 11211.
        environment["MEMCACHED_SERVERS"] = server.address
        assert subprocess.run(command, env=environment, timeout=30).returncode == 0
    gone = subprocess.run(command, env=environment, timeout=30, capture_output=True)
    assert gone.returncode != 0


def test_the_user_is_that_of_memcacheds_image(image):
    assert instructions("USER") == ["11211:11211"]
    assert "memcache:x:11211:11211:" in (image / "etc/passwd").read_text()
    assert (image / "var/lib/nuthatch").stat().st_uid == 11211


def test_hadolint_has_nothing_to_say():
    files = [DOCKERFILE, DEPLOY / "compose/site/Dockerfile"]
    said = subprocess.run([SCRIPTS / "hadolint", *files], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_build_has_all_that_its_workspace_names(tmp_path):
    """Cargo reads the manifests of what the build's context has left of the repository."""
    rules = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    for rule in rules:
        if rule.startswith("!"):
            (shutil.copytree if (ROOT / rule[1:]).is_dir() else shutil.copy)(
                ROOT / rule[1:], tmp_path / rule[1:]
            )
        elif rule != "*" and not rule.startswith("#"):
            shutil.rmtree(tmp_path / rule)
    (build,) = [command for command in instructions("RUN") if "cargo build" in command]
    # The same flags, as far as cargo can go without building.
    flags = build.split("cargo build --release")[1].split()
    command = ["cargo", "check", "--quiet", "--unit-graph", "-Z", "unstable-options", *flags]
    said = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"RUSTC_BOOTSTRAP": "1"},
    )
    assert said.returncode == 0, said.stderr
    assert any(unit["target"]["name"] == "nuthatch" for unit in json.loads(said.stdout)["units"])


def test_compose_keeps_to_its_specification():
    command = [SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_names_ports_and_files_agree():
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    nodes = sorted(name for name in services if name.startswith("nuthatch-"))
    assert services["site"]["environment"]["CACHE_NODES"].split(",") == [
        f"{n}:11211" for n in nodes
    ]
    (scraped,) = yaml.safe_load((DEPLOY / "prometheus/nodes.yml").read_text())
    assert scraped["targets"] == [f"{node}:9150" for node in nodes]
    assert instructions("EXPOSE") == ["11211 9150"]
    for service in services.values():
        assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+", service["image"]), service["image"]
        for volume in service.get("volumes", []):
            assert (COMPOSE.parent / volume.split(":")[0]).exists(), volume


def manifest(name):
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", ["service", "statefulset", "poddisruptionbudget"])
def test_kubernetes_knows_every_field(name, version):
    command = [SCRIPTS / "kubernetes-validate", "--strict", "-k", version]
    said = subprocess.run([*command, KUBERNETES / f"{name}.yaml"], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_prometheus_operator_knows_every_field():
    monitor = manifest("servicemonitor")
    # What it does not know is not there afterwards.
    known = ServiceMonitor.model_validate(monitor).model_dump(
        mode="json", by_alias=True, exclude_unset=True
    )
    assert known == monitor


def test_kubernetes_finds_what_manifests_name():
    kustomization = manifest("kustomization")
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    pod = manifest("statefulset")["spec"]["template"]
    labels, (container,) = pod["metadata"]["labels"], pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"memcached": 11211, "admin": 9150}
    assert manifest("statefulset")["spec"]["serviceName"] == manifest("service")["metadata"]["name"]
    assert manifest("service")["spec"]["selector"] == labels
    assert {
        port["targetPort"]: port["port"] for port in manifest("service")["spec"]["ports"]
    } == ports
    for name in ("statefulset", "poddisruptionbudget"):
        assert manifest(name)["spec"]["selector"] == {"matchLabels": labels}, name
    service, monitor = manifest("service"), manifest("servicemonitor")["spec"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"] == {"matchLabels": labels}
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    # The alerts select by it.
    assert labels[monitor["jobLabel"]] == "nuthatch"
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}


def test_the_arguments_in_kubernetes_start_a_node_that_fits_its_memory(tmp_path):
    pod = manifest("statefulset")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    arguments = [word.replace(mount["mountPath"], str(tmp_path)) for word in container["args"]]
    assert str(tmp_path) in arguments
    with running("nuthatch", tmp_path, *arguments) as server:
        memory = int(memory_of(server))
    connections = int(arguments[arguments.index("-c") + 1])
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * MEBIBYTE
    assert limit >= 1.2 * memory + 32 * MEBIBYTE + connections * 16 * 1024
    assert (pod["securityContext"]["runAsUser"], container["image"]) == (11211, "nuthatch:0.1.0")


def test_the_readme_names_files_that_are_there():
    readme = (DEPLOY / "README.md").read_text()
    named = re.findall(r"\bdeploy/[\w./-]+\w", readme)
    folders = "demo|compose|systemd|debian|docker|kubernetes|prometheus|grafana"
    named += [f"deploy/{path}" for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", readme)]
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
