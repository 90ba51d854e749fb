"""libmemcached's command-line tools, which operators use by hand and in scripts."""

import re
import subprocess

import pytest


@pytest.fixture
def tool(server, tmp_path):
    """Runs a tool against the server, in a directory of the test's own."""

    def run(name, *arguments):
        command = [name, f"--servers={server.address}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)

    return run


@pytest.fixture
def stored(tool, tmp_path):
    """A file that memccp stored under its name, as client flags 7."""
    (tmp_path / "greeting").write_text("hello, world")
    assert tool("memccp", "--flag=7", "greeting").returncode == 0
    return "greeting"


def test_memccat_prints_what_memccp_stored(tool, stored):
    result = tool("memccat", "--flag", stored)
    assert (result.returncode, result.stdout) == (0, "7\nhello, world\n")


def test_memccat_of_a_missing_key_fails_and_prints_nothing(tool):
    result = tool("memccat", "missing")
    assert (result.returncode, result.stdout) == (1, "")


def test_memccp_adds_and_replaces(tool, stored):
    assert tool("memccp", "--add", stored).returncode != 0
    assert tool("memccp", "--replace", stored).returncode == 0
    assert tool("memcrm", stored).returncode == 0
    assert tool("memccp", "--replace", stored).returncode != 0
    assert tool("memccp", "--add", stored).returncode == 0


def test_memccp_stores_a_file_of_half_a_mebibyte(tool, tmp_path):
    text = "0123456789abcdef" * 32768
    (tmp_path / "large").write_text(text)
    assert tool("memccp", "large").returncode == 0
    assert tool("memccat", "large").stdout == text + "\n"


def test_memcexist_tells_by_its_status(tool, stored):
    assert tool("memcexist", stored).returncode == 0
    assert tool("memcexist", "missing").returncode == 1


def test_memctouch_gives_a_new_expiry(tool, stored):
    assert tool("memctouch", "missing").returncode == 1
    assert tool("memctouch", "--expire=100", stored).returncode == 0
    assert tool("memcexist", stored).returncode == 0
    assert tool("memctouch", "--expire=1", stored).returncode == 0


def test_memcrm_removes_once(tool, stored):
    assert tool("memcrm", stored).returncode == 0
    assert tool("memcrm", stored).returncode == 1
    assert tool("memcexist", stored).returncode == 1


def test_memcflush_removes_everything(tool, stored):
    assert tool("memcflush").returncode == 0
    assert tool("memcexist", stored).returncode == 1


def test_memcping_tells_by_its_status(tool):
    assert tool("memcping").returncode == 0
    assert subprocess.run(["memcping", "--quiet", "--servers=127.0.0.1:1"]).returncode == 1


def test_memcstat_prints_the_counters(server, tool):
    result = tool("memcstat")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"Server: 127.0.0.1 ({server.port})"
    names = [line.split(":")[0].strip() for line in lines[1:]]
    assert {"pid", "version", "curr_items", "get_hits", "evictions"} <= set(names)


def test_memcslap_stores_and_reads_from_several_threads(tool):
    for test in ("set", "get", "mget"):
        arguments = [f"--test={test}", "--concurrency=4", "--execute-number=200"]
        assert tool("memcslap", *arguments).returncode == 0


# They want an error for surplus arguments of delete, as memcached gave it up to about 1.6.18.
CHECKS_OUT_OF_DATE = {"ascii delete", "ascii delete noreply"}


def test_memccapable_finds_every_classic_command_as_it_should_be(server):
    command = ["memccapable", "-a", "-h", "127.0.0.1", "-p", str(server.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    checks = re.findall(r"ascii \w+(?: noreply)?(?= )", result.stdout)
    passed = re.findall(r"(ascii \w+(?: noreply)?) +\[pass\]", result.stdout)
    assert len(checks) == 27
    assert set(checks) - set(passed) <= CHECKS_OUT_OF_DATE
