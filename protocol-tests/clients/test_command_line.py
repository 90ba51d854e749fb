"""The command lines of unit files, images and charts: each starts and serves, and what is wrong ends as it does
with memcached."""

import os
import shutil
import signal
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pymemcache import Client

from servers import HOST, NUTHATCH, announced_port

EXIT_SECONDS_MAX = 10


@contextmanager
def started(tmp_path, *arguments, program=NUTHATCH, user=None, **variables):
    """Runs it with these arguments, on a free port unless they name one; yields the process and the port."""
    port_file = tmp_path / "port"
    environment = os.environ | {"MEMCACHED_PORT_FILENAME": str(port_file)} | variables
    process = subprocess.Popen(
        [program, *arguments], env=environment, stderr=subprocess.PIPE, text=True, user=user
    )
    try:
        yield process, announced_port(process, port_file)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ended(*arguments, **variables):
    return subprocess.run(
        [NUTHATCH, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=EXIT_SECONDS_MAX,
    )


def settings(port):
    with closing(Client((HOST, port))) as client:
        assert client.set("k", "v", noreply=False)
        assert client.get("k") == b"v"
        return client.stats("settings")


USUAL = ["-p", "-1", "-u", "root"]

LINES = {
    "Debian": ["-m", "64", "-l", "127.0.0.1", "-P", "{tmp}/memcached.pid"],
    "Docker": ["memcached", "-m", "64"],
    "Docker, flags alone": ["-m", "64", "-c", "512", "-I", "5m"],
    "bitnami": ["memcached", "-m128", "-c", "1024", "-t", "4", "-vv"],
    "Loki": ["-m 1024", "--extended=modern,track_sizes", "-I 5m", "-c 16384", "-v"],
    "Mimir": ["-m 100", "--max-item-size=1m", "-o", "modern", "-t", "2"],
    "in one word": ["-vm64", "-c64"],
    "twice": ["-m", "32", "-m", "64"],
    "abbreviated": ["--memory=64", "--thr=2", "--conn=100"],
    "no UDP": ["-U", "0", "-B", "ascii", "-b", "512", "-R", "20", "-f", "1.1", "-n", "64", "-L"],
    "many options": [
        "-o",
        "slab_reassign,slab_automove=1,lru_crawler,lru_maintainer,hash_algorithm=murmur3",
        "-o",
        "maxconns_fast,idle_timeout=60,hot_lru_pct=30,no_drop_privileges",
    ],
    "careful": ["-F", "-X", "-W", "-C", "-M", "-r", "-k"],
    "number of v": ["--verbose=3"],
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_usual_line_starts_and_serves(line, tmp_path):
    line = [argument.format(tmp=tmp_path) for argument in line]
    with started(tmp_path, *USUAL, *line) as (process, port):
        settings(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_SECONDS_MAX) == 0


def test_who_is_not_root_may_name_nonsense_as_user(tmp_path):
    """Loki's chart does: -u and a port number."""
    with TemporaryDirectory(dir="/tmp") as directory:
        program = shutil.copy(NUTHATCH, directory)
        os.chmod(directory, 0o777)
        line = ["-p", "-1", "-m 64", "-u 11211"]
        with started(Path(directory), *line, program=program, user="nobody") as (_, port):
            settings(port)


def test_it_may_be_called_memcached(tmp_path):
    program = tmp_path / "memcached"
    program.symlink_to(NUTHATCH)
    with started(tmp_path, *USUAL, "-m", "32", program=program) as (_, port):
        assert settings(port)[b"maxbytes"] == 32 << 20


def test_settings_come_from_the_environment_where_no_flag_says_otherwise(tmp_path):
    variables = {
        "NUTHATCH_MEMORY_LIMIT": "128",
        "NUTHATCH_CONN_LIMIT": "77",
        "NUTHATCH_PORT": "tcp://10.0.0.1:11211",
        "NUTHATCH_USER": "root",
    }
    line = ["-p", "-1", "-c", "99"]
    with started(tmp_path, *line, **variables) as (_, port):
        found = settings(port)
        assert (found[b"maxbytes"], found[b"maxconns"]) == (128 << 20, 99)


def test_what_has_no_effect_is_said(tmp_path):
    with started(tmp_path, *USUAL, "-o", "slab_automove=1", "-n", "48") as (process, _):
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert "-o slab_automove has no effect: there are no slabs" in log
        assert "-n has no effect" in log


@pytest.mark.parametrize(
    "line, status, said",
    [
        (["--nonsense"], 1, "--nonsense"),
        (["-o", "nonsense"], 1, "nonsense"),
        (["-o", "idle_timeout"], 1, "idle_timeout"),
        (["-c", "0"], 1, "-c"),
        (["-t", "0"], 1, "-t"),
        (["-f", "1"], 1, "-f"),
        (["-n", "0"], 1, "-n"),
        (["-m", "x"], 1, "x"),
        (["--m", "64"], 1, "--m"),
        (["-B", "http"], 64, "http"),
        (["-B", "binary"], 64, "binary=False"),
        (["-S"], 64, "SASL"),
        (["-U", "11211"], 64, "UDP"),
        (["-I", "1023"], 64, "-I"),
        (["-I", "33m"], 64, "-I"),
        (["-o", "ext_path=/tmp/x:64m"], 64, "flash"),
        (["-o", "proxy_config=x"], 64, "proxy"),
        (["-u", "nobody-of-this-name"], 67, "nobody-of-this-name"),
        (["-l", "no.such.host.invalid"], 71, "no.such.host.invalid"),
    ],
)
def test_what_is_wrong_ends_with_memcacheds_status(line, status, said):
    result = ended("-p", "-1", *line)
    assert (result.returncode, said in result.stderr) == (status, True), result.stderr


def test_a_port_in_use_is_named(tmp_path):
    with started(tmp_path, *USUAL) as (_, port):
        result = ended("-p", str(port), "-u", "root")
        assert result.returncode == 71
        assert str(port) in result.stderr


@pytest.mark.parametrize(
    "flag, said",
    [
        ("-h", "--memory-limit"),
        ("-V", "memcached 1.6.45"),
        ("-i", "licen"),
    ],
)
def test_what_only_tells_ends_well(flag, said):
    result = ended(flag)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout
