"""deploy/systemd: what systemd's own tools say of the units, and that the daemon starts as they start it."""

import os
import re
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from servers import HOST, NUTHATCH, ROOT, announced_port, running
from wire import Wire

UNITS = ROOT / "deploy/systemd"
# Of 10; memcached's own unit in Debian has 4.8. What is left is that it serves a network.
EXPOSURE_MAX = 0.9
MEBIBYTE = 1 << 20


@pytest.fixture
def units(tmp_path):
    """The units, with the program where it is."""
    for unit in UNITS.glob("nuthatch*.*"):
        text = unit.read_text().replace("/usr/bin/nuthatch", NUTHATCH)
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(units, *arguments):
    command = ["systemd-analyze", *arguments]
    told = subprocess.run(command, cwd=units, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


def settings(unit):
    """Each name with its values."""
    found = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_systemd_has_nothing_to_say_about_the_units(units):
    names = ["./nuthatch.service", "./nuthatch.socket", "./nuthatch@other.service"]
    assert analyze(units, "verify", "--man=no", *names) == ""


@pytest.mark.parametrize("name", ["nuthatch.service", "nuthatch@.service"])
def test_the_service_is_exposed_no_more_than_the_readme_says(units, name):
    (units / "nuthatch@.service").rename(units / "nuthatch@other.service")
    name = name.replace("@.", "@other.")
    said = analyze(units, "security", "--offline=yes", f"./{name}")
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])
    assert exposure <= EXPOSURE_MAX


def test_the_template_is_the_service_with_names_of_its_own():
    service, template = (
        [line for line in (UNITS / name).read_text().splitlines() if not line.startswith("#")]
        for name in ("nuthatch.service", "nuthatch@.service")
    )
    named = "\n".join(template).replace("nuthatch-%i", "nuthatch").replace(" (%i)", "")
    assert named.replace("%i.toml", "nuthatch.toml") == "\n".join(service)


def test_the_limits_fit_the_configuration():
    limits = settings(UNITS / "nuthatch.service")
    config = (UNITS / "nuthatch.toml").read_text()
    memory, connections = (
        int(re.search(rf"^{name} = (\d+)$", config, re.MULTILINE)[1])
        for name in ("memory-limit", "conn-limit")
    )
    needed = 1.2 * memory * MEBIBYTE + 32 * MEBIBYTE + connections * 16 * 1024
    assert int(limits["MemoryMax"][0].removesuffix("M")) * MEBIBYTE >= needed
    assert int(limits["LimitNOFILE"][0]) > connections


def test_the_socket_is_where_the_configuration_listens():
    (address,) = settings(UNITS / "nuthatch.socket")["ListenStream"]
    host, port = address.split(":")
    assert f'listen = ["{host}"]' in (UNITS / "nuthatch.toml").read_text()
    assert port == "11211"
    for name in ("IPAddressDeny", "IPAddressAllow"):
        service, socket = (settings(UNITS / f"nuthatch.{kind}") for kind in ("service", "socket"))
        assert service[name] == socket[name]


def test_the_daemon_starts_with_the_configuration(tmp_path):
    config = (UNITS / "nuthatch.toml").read_text().replace("/var/lib/nuthatch", str(tmp_path))
    (tmp_path / "nuthatch.toml").write_text(config)
    program, *flags = shlex.split(settings(UNITS / "nuthatch.service")["ExecStart"][0])
    assert program == "/usr/bin/nuthatch"
    flags = [flag.replace("/etc/nuthatch", str(tmp_path)) for flag in flags]
    with running("nuthatch", tmp_path, *flags) as server, Wire(server.endpoint) as wire:
        assert wire.ask(b"set k 0 0 1\r\nv") == b"STORED"
        for refused in (b"lru_crawler metadump all", b"watch fetchers"):
            assert b"ERROR" in wire.ask(refused)


def system_calls(of):
    """The names in one of systemd's sets of system calls."""
    command = ["systemd-analyze", "syscall-filter", of]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip()[:1] not in ("", "#")]
    return set().union(*(system_calls(name) if name[0] == "@" else {name} for name in names))


@pytest.fixture
def anybodys_folder():
    """A folder that belongs to a user without privileges, and can be reached by that."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_the_daemon_calls_nothing_that_the_service_forbids(anybodys_folder):
    allowed = set()
    for value in settings(UNITS / "nuthatch.service")["SystemCallFilter"]:
        names = set().union(*map(system_calls, value.removeprefix("~").split()))
        allowed = allowed - names if value.startswith("~") else allowed | names
    assert "read" in allowed and not {"setuid", "mount"} & allowed

    calls, port_file = anybodys_folder / "calls", anybodys_folder / "port"
    # -c above the limit of files, which is raised; a snapshot, read again; a reload.
    flags = ["-p", "-1", "-l", "127.0.0.1", "-c", "2000", "--snapshot", anybodys_folder]
    environment = os.environ | {
        "MEMCACHED_PORT_FILENAME": str(port_file),
        "NUTHATCH_ADMIN": "127.0.0.1:0",
    }
    command = ["strace", "--follow-forks", "--user=nobody", f"--output={calls}", NUTHATCH, *flags]
    for _ in range(2):
        port_file.unlink(missing_ok=True)
        process = subprocess.Popen(command, env=environment)
        port = announced_port(process, port_file)
        daemon = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        with Wire((HOST, port)) as wire:
            assert wire.ask(b"set k 0 0 1\r\nv") == b"STORED"
            os.kill(daemon, signal.SIGHUP)
            assert wire.ask(b"delete k") == b"DELETED"
            assert wire.ask(b"set k 0 0 1\r\nv") == b"STORED"
        os.kill(daemon, signal.SIGTERM)
        assert process.wait(30) == 0
        called = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(), re.MULTILINE))
        assert {"execve", "rename"} < called
        assert called - allowed == set()


def test_the_drop_in_obeys_memcacheds_own_configuration(tmp_path):
    drop_in = settings(UNITS / "memcached-conf.conf")
    shell = shlex.split(drop_in["ExecStartPre"][0])
    places = {"/usr/bin/nuthatch": NUTHATCH, "/run/nuthatch": str(tmp_path)}
    for there, here in places.items():
        shell[-1] = shell[-1].replace(there, here)
    subprocess.run(shell, check=True, timeout=30)
    cleared, start = drop_in["ExecStart"]
    flags = shlex.split(start.replace("/run/nuthatch", str(tmp_path)))[1:]
    assert cleared == ""
    checked = subprocess.run(
        [NUTHATCH, "config", "show", *flags], capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"^memory-limit = 64 +# file ", checked.stdout, re.MULTILINE)
