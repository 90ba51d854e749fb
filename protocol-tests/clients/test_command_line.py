"""The command lines of unit files, images and charts: each starts and serves. What is wrong with others, and how they
end, is in src/server/tests/command_line.rs."""

import os
import pty
import shutil
import signal
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pymemcache import Client

from servers import HOST, NUTHATCH, PROGRAMS, announced_port

EXIT_SECONDS_MAX = 60


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
    "abbreviated": ["--memory-l=64", "--thr=2", "--conn=100"],
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


OPTIONS = """
    slab_reassign,slab_automove slab_automove=2 slab_automove=3 no_slab_automove no_slab_reassign slab_automove_ratio=0.8
    slab_automove_ratio slab_automove_ratio=0 slab_automove_ratio=1.1 slab_automove_window=3 slab_automove_window=2
    hashpower hashpower=12 hashpower=11 hashpower=33 no_hashexpand hash_algorithm=murmur3 hash_algorithm=md5 hash_algorithm
    tail_repair_time=10 tail_repair_time=9 lru_crawler no_lru_crawler lru_crawler_sleep=1000000 lru_crawler_sleep=1000001
    lru_crawler_tocrawl=100 lru_crawler_tocrawl=x lru_maintainer no_lru_maintainer hot_lru_pct=79 hot_lru_pct=80
    warm_lru_pct=1 warm_lru_pct=0 hot_max_factor=0.2 hot_max_factor=0 warm_max_factor=2 warm_max_factor=x temporary_ttl=61
    temporary_ttl idle_timeout=60 idle_timeout read_buf_mem_limit=10 read_buf_mem_limit=x resp_obj_mem_limit
    watcher_logbuf_size=256 watcher_logbuf_size worker_logbuf_size=64 worker_logbuf_size=x slab_chunk_max=16384
    slab_sizes=100-200 track_sizes modern no_modern no_chunked_items inline_ascii_resp no_inline_ascii_resp
    maxconns_fast no_maxconns_fast drop_privileges no_drop_privileges nonsense
""".split()


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_taken_or_refused_as_memcached_does(option):
    # With -V after it, memcached reads it and ends.
    theirs = subprocess.run([*PROGRAMS["memcached"], "-o", option, "-V"], capture_output=True)
    ours = subprocess.run(
        [NUTHATCH, "config", "check", "-u", "root", "-o", option], capture_output=True
    )
    assert ours.returncode == theirs.returncode, (ours.stderr, theirs.stderr)


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


def test_a_flag_counts_more_than_the_environment_and_that_more_than_the_file(tmp_path):
    variables = {
        "NUTHATCH_MEMORY_LIMIT": "128",
        "NUTHATCH_CONN_LIMIT": "77",
        "NUTHATCH_PORT": "tcp://10.0.0.1:11211",
        "NUTHATCH_USER": "root",
    }
    file = tmp_path / "nuthatch.toml"
    file.write_text("threads = 3\nmemory-limit = 32\n\n[extended]\nidle_timeout = 60\n")
    line = ["-p", "-1", "-c", "99", "--config", str(file)]
    with started(tmp_path, *line, **variables) as (_, port):
        found = settings(port)
        assert (found[b"maxbytes"], found[b"maxconns"]) == (128 << 20, 99)
        assert (found[b"num_threads"], found[b"idle_timeout"]) == (3, 60)


def test_debians_configuration_starts_once_it_is_converted(tmp_path):
    debian = Path("/etc/memcached.conf").read_text().replace("11211", "-1")
    file = tmp_path / "memcached.conf"
    file.write_text(f"{debian}\n-c 77\n-P {tmp_path}/memcached.pid\n")
    toml = tmp_path / "nuthatch.toml"
    convert = [NUTHATCH, "config", "convert", str(file)]
    toml.write_text(subprocess.run(convert, check=True, text=True, capture_output=True).stdout)
    subprocess.run([NUTHATCH, "config", "check", "--config", str(toml)], check=True)
    # As the user of the package it could not write its port here.
    with started(tmp_path, "--config", str(toml), "-u", "root") as (_, port):
        assert settings(port)[b"maxconns"] == 77


def test_what_has_no_effect_is_said(tmp_path):
    with started(tmp_path, *USUAL, "-o", "slab_automove=1", "-n", "48") as (process, _):
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert "-o slab_automove has no effect: there are no slabs" in log
        assert "-n has no effect" in log


def test_colours_are_for_terminals_that_want_them():
    for variables, coloured in [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)]:
        terminal, theirs = pty.openpty()
        command = [NUTHATCH, "-u", "root", "-c", "0"]
        subprocess.run(command, env=variables, stderr=theirs)
        os.close(theirs)
        with open(terminal, "rb", buffering=0) as terminal:
            log = terminal.read(1000)
        assert b"(-c)" in log
        assert (b"\x1b" in log) == coloured
