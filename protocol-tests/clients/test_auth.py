"""Logins (-Y), with nuthatch and with memcached."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from servers import running

PATIENCE_SECONDS = 60
BOTH = pytest.mark.parametrize(
    "name",
    [pytest.param("nuthatch", marks=pytest.mark.nuthatch), pytest.param("memcached", marks=pytest.mark.memcached)],
)
NUTHATCH = pytest.mark.nuthatch
UNAUTHENTICATED = b"CLIENT_ERROR unauthenticated\r\n"
FAILURE = b"CLIENT_ERROR authentication failure\r\n"
BAD_TOKEN = b"CLIENT_ERROR bad authentication token format\r\n"


@pytest.fixture
def logins(tmp_path):
    path = tmp_path / "logins"
    path.write_text("user:pass\nalice:secret")
    return path


@contextmanager
def connected(server):
    with socket.create_connection(server.endpoint, PATIENCE_SECONDS) as stream:
        yield stream


def ask(stream, request, end=b"\r\n"):
    stream.sendall(request)
    received = b""
    while not received.endswith(end):
        piece = stream.recv(65536)
        if not piece:
            break
        received += piece
    return received


def login(user, password):
    token = f"{user} {password}".encode()
    return b"set anything 0 0 %d\r\n%s\r\n" % (len(token), token)


@BOTH
def test_nothing_but_a_login_works_before_it(name, logins, tmp_path):
    with running(name, tmp_path, "-Y", str(logins)) as server, connected(server) as stream:
        for request in [
            b"get a\r\n", b"version\r\n", b"\r\n", b"stats\r\n", b"ms a 1\r\n", b"mn\r\n", b"quit\r\n", b"flush_all\r\n",
            b"shutdown\r\n", b"set a 0 0 -1\r\n", b"set a 0 0 x\r\n", b"set a 0 0\r\n", b"add a 0 0 9\r\n",
            b"watch fetchers\r\n", b"lru_crawler metadump all\r\n",
        ]:  # fmt: skip
            assert ask(stream, request) == UNAUTHENTICATED, request
        assert ask(stream, login("user", "wrong")) == FAILURE
        assert ask(stream, login("nobody", "pass")) == FAILURE
        assert ask(stream, b"set a 0 0 4\r\nuser\r\n") == BAD_TOKEN
        assert ask(stream, login("alice", "secret")) == b"STORED\r\n"
        assert ask(stream, b"get anything\r\n") == b"END\r\n"
        assert ask(stream, b"set a 0 0 1\r\nx\r\n") == b"STORED\r\n"
        stats = ask(stream, b"stats\r\n", b"END\r\n")
        assert b"STAT auth_cmds 3\r\nSTAT auth_errors 2\r\n" in stats
        settings = ask(stream, b"stats settings\r\n", b"END\r\n")
        assert b"STAT auth_enabled_ascii %s\r\n" % str(logins).encode() in settings


@BOTH
def test_requests_may_come_with_the_login(name, logins, tmp_path):
    with running(name, tmp_path, "-Y", str(logins)) as server, connected(server) as stream:
        stream.sendall(login("user", "pass")[:-5])
        rest = login("user", "pass")[-5:] + b"set a 0 0 1\r\nx\r\nget a\r\n"
        assert ask(stream, rest, b"END\r\n") == b"STORED\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n"


@BOTH
def test_logins_are_read_again(name, logins, tmp_path, soon):
    with running(name, tmp_path, "-Y", str(logins)) as server, connected(server) as before:
        assert ask(before, login("user", "pass")) == b"STORED\r\n"
        logins.write_text("user:new\n")
        os.kill(server.pid, signal.SIGHUP)

        def answer(password):
            with connected(server) as stream:
                return ask(stream, login("user", password))

        assert soon(lambda: answer("new") == b"STORED\r\n")
        assert answer("pass") == FAILURE
        # Who has come in stays.
        assert ask(before, b"mn\r\n") == b"MN\r\n"


@NUTHATCH
def test_a_file_that_cannot_be_used_changes_nothing(logins, tmp_path):
    with running("nuthatch", tmp_path, "-Y", str(logins)) as server:
        logins.write_text("nonsense")
        os.kill(server.pid, signal.SIGHUP)
        with connected(server) as stream:
            assert ask(stream, login("user", "pass")) == b"STORED\r\n"


@NUTHATCH
def test_who_guesses_is_shown_out(logins, tmp_path):
    with running("nuthatch", tmp_path, "-Y", str(logins)) as server, connected(server) as stream:
        for _ in range(4):
            assert ask(stream, login("user", "guess")) == FAILURE
        assert ask(stream, login("user", "guess") + login("user", "pass")) == FAILURE
        assert stream.recv(100) == b""


@NUTHATCH
def test_a_login_that_is_too_long_is_refused_at_once(logins, tmp_path):
    with running("nuthatch", tmp_path, "-Y", str(logins)) as server:
        for length in (4097, 2**31 - 1, 2**32 - 1):
            with connected(server) as stream:
                # Closed, or what comes would be taken for requests.
                assert ask(stream, b"set a 0 0 %d\r\n" % length, end=b"never") == BAD_TOKEN
        with connected(server) as stream:
            assert ask(stream, b"x" * 2049, end=b"never") == b""


@NUTHATCH
def test_who_does_not_log_in_is_shown_out(logins, tmp_path):
    with running("nuthatch", tmp_path, "-Y", str(logins)) as server, connected(server) as stream:
        # After ten seconds.
        stream.sendall(b"set a 0 0 9\r\nuser")
        assert stream.recv(100) == b""


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@NUTHATCH
def test_two_hundred_who_may_not_cost_little(logins, tmp_path):
    with running("nuthatch", tmp_path, "-Y", str(logins)) as server:
        before = resident_bytes(server.pid)

        def attack(number):
            stream = socket.create_connection(server.endpoint, PATIENCE_SECONDS)
            stream.settimeout(1)
            try:
                # Half of them as values that never end, half as lines.
                stream.sendall(b"set a 0 0 4096\r\n" if number % 2 else b"")
                for _ in range(100):
                    stream.sendall(b"x" * 4000)
            except OSError:
                pass
            return stream

        with ThreadPoolExecutor(50) as pool:
            streams = list(pool.map(attack, range(200)))
        grown = resident_bytes(server.pid) - before
        for stream in streams:
            stream.close()
        assert grown <= 16 << 20, grown
