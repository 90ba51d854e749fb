"""`nuthatch ping`, `get`, `set`, ... `bench`: what they print and how they end, at nuthatch and at memcached."""

import os
import re
import subprocess
import time

import pytest

from servers import NUTHATCH, running
from test_doctor import findings
from verbs import RUN_SECONDS_MAX, UNREACHABLE, at_terminal, documents, run, scripted, version
from wire import Item, Wire

LINES_OF_LATENCY = 24


def test_ping_tells_who_answers(cache):
    code, out, errors = run("ping", server=cache)
    assert (code, errors) == (0, "")
    expected = f"{cache.address} is {version(cache)}, answered in "
    assert re.fullmatch(re.escape(expected) + r"\d+\.\d ms\n", out)
    [document] = documents("ping", "--json", server=cache)
    [told] = document["servers"]
    assert (told["server"], told["version"]) == (cache.address, version(cache))


def test_ping_fails_if_one_server_does_not_answer(cache):
    code, out, errors = run("ping", server=f"{UNREACHABLE},{cache.address}")
    assert code == 69
    assert out.startswith(f"{cache.address} is ")
    assert errors.startswith(f"cannot connect to {UNREACHABLE}: Connection refused")
    assert "Is the server running?" in errors


@pytest.mark.parametrize("name", ["nuthatch", "memcached"])
def test_ping_waits_for_a_server(name, tmp_path):
    """Over a Unix socket, whose name is known before there is a server."""
    path = tmp_path / "socket"
    assert run("ping", "--server", str(path))[0] == 69
    command = [NUTHATCH, "ping", "--wait", "60s", "--server", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.poll() is None
    program = {"nuthatch": NUTHATCH, "memcached": "memcached"}[name]
    environment = os.environ | {"NUTHATCH_ADMIN": "none"}
    daemon = subprocess.Popen([program, "-s", str(path), "-u", "root"], env=environment)
    try:
        out, _ = process.communicate(timeout=RUN_SECONDS_MAX)
        assert (process.returncode, out.startswith(f"{path} is 1.6.")) == (0, True)
        assert run("set", "k", "v", server=str(path)) == (0, "stored\n", "")
        assert run("get", "k", server=str(path)) == (0, "v", "")
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize("name", ["nuthatch", "memcached"])
def test_a_server_with_logins_is_pinged_without_and_used_with_one(name, tmp_path):
    logins = tmp_path / "logins"
    logins.write_text("ada:secret\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("ada:guess\n")
    with running(name, tmp_path, "-Y", str(logins)) as server:
        code, out, _ = run("ping", server=server)
        assert (code, "wants a login" in out) == (0, True)
        login = ["--auth-file", str(logins)]
        assert "is 1.6." in run("ping", *login, server=server)[1]
        assert run("ping", "--auth-file", str(wrong), server=server)[0] == 69
        assert run("set", "k", "v", *login, server=server) == (0, "stored\n", "")
        assert run("get", "k", *login, server=server) == (0, "v", "")
        code, _, errors = run("get", "k", server=server)
        assert (code, "--auth-file" in errors) == (69, True)
        assert run("stats", *login, server=server)[0] == 0
        checks = findings(server, *login)
        assert checks["reach"] == "ok"


def test_an_item_is_set_got_touched_counted_and_deleted(cache):
    missing = (1, "", f'{cache.address} has no item "k"\n')
    for verb in [["get", "k"], ["delete", "k"], ["incr", "k"], ["decr", "k"], ["touch", "k", "5m"]]:
        assert run(*verb, server=cache) == missing
    set_k = ["set", "k", "41", "--ttl", "100s", "--flags", "7"]
    assert run(*set_k, server=cache) == (0, "stored\n", "")
    assert run("get", "k", server=cache) == (0, "41", "")
    [found] = documents("get", "k", "--json", server=cache)
    assert 98 <= found.pop("ttl") <= 101
    assert found == {
        "schema": 1,
        "server": cache.address,
        "key": "k",
        "value": "41",
        "encoding": "utf-8",
        "size": 2,
        "flags": 7,
    }
    assert run("incr", "k", server=cache) == (0, "42\n", "")
    assert run("incr", "k", "8", server=cache) == (0, "50\n", "")
    assert run("decr", "k", "5", server=cache) == (0, "45\n", "")
    assert run("decr", "k", "100", server=cache)[1] == "0\n"
    assert run("touch", "k", "0", server=cache) == (0, "touched\n", "")
    assert documents("get", "k", "--json", server=cache)[0]["ttl"] == -1
    assert run("delete", "k", server=cache) == (0, "deleted\n", "")
    assert run("get", "k", server=cache) == missing


def test_a_value_may_come_from_standard_input_and_be_any_bytes(cache):
    value = bytes(range(256)) * 10
    options = {"env": os.environ | {"MEMCACHED_SERVERS": cache.address}, "capture_output": True}
    stored = subprocess.run([NUTHATCH, "set", "k"], input=value, **options)
    assert (stored.returncode, stored.stdout) == (0, b"stored\n")
    assert subprocess.run([NUTHATCH, "get", "k"], **options).stdout == value
    [found] = documents("get", "k", "--json", server=cache)
    assert (found["encoding"], found["size"]) == ("base64", len(value))
    code, out, errors = run("set", "k", server=cache, input="x" * 2_000_000)
    assert (code, out, "object too large" in errors) == (69, "", True)


def test_what_cannot_be_is_said_and_changes_nothing(cache):
    run("set", "k", "v", server=cache)
    code, _, errors = run("incr", "k", server=cache)
    assert (code, "non-numeric" in errors and "nothing was changed" in errors) == (69, True)
    for wrong in [["get", "a b"], ["get", "a\r\nflush_all"], ["get", "k" * 251], ["incr", "k", "-1"]]:
        assert run(*wrong, server=cache)[0] == 1
    assert run("set", "k", "v", "--ttl", "1w", server=cache)[0] == 1
    assert run("get", "k", server=cache)[1] == "v"
    code, _, errors = run("get", "k", server=f"{cache.address},{UNREACHABLE}")
    assert (code, "several servers" in errors) == (1, True)


def test_stats_are_names_and_values(cache):
    code, out, errors = run("stats", server=cache)
    assert (code, errors) == (0, "")
    with Wire(cache.endpoint) as wire:
        names = list(wire.stats())
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == names
    values = {line.index(line.split()[1], len(line.split()[0])) for line in lines}
    assert len(values) == 1, "the values are in one column"
    [document] = documents("stats", "--json", server=cache)
    [told] = document["servers"]
    assert told["server"] == cache.address
    assert list(told["stats"]) == names
    assert told["stats"]["limit_maxbytes"] == 64 << 20
    assert told["stats"]["version"] == version(cache)
    [settings] = documents("stats", "settings", "--json", server=cache)
    assert settings["servers"][0]["stats"]["maxconns"] == 1024


def test_stats_of_several_servers_stand_below_their_names(caches):
    addresses = [server.address for server in caches.values()]
    code, out, errors = run("stats", server=",".join([*addresses, UNREACHABLE]))
    assert (code, errors.count("\n")) == (69, 1)
    assert [line for line in out.splitlines() if line in addresses] == addresses
    many = ["stats", "--json", *[f"--server={address}" for address in addresses]]
    assert len(documents(*many)[0]["servers"]) == 2


def test_stats_that_a_server_has_not_are_said_so(caches):
    assert len(run("stats", "latency", server=caches["nuthatch"])[1].splitlines()) == LINES_OF_LATENCY
    stock = caches["memcached"]
    expected = f"{stock.address} does not know `stats latency`: memcached has no such command, nuthatch has\n"
    assert run("stats", "latency", server=stock) == (69, "", expected)


def test_stats_are_watched(cache):
    watch = ["stats", "--watch=100ms", "--count", "2"]
    first, second = documents(*watch, "--json", server=cache)
    assert first["servers"][0]["rates"] == {}
    told = second["servers"][0]
    assert told["rates"]["bytes_written"] > 0
    assert told["seconds"] >= 0.1
    _, out, _ = run(*watch, server=cache)
    assert out.startswith("watching\n")
    assert re.search(r"^bytes_read +\d+ +\+\d+\.\d/s$", out, re.MULTILINE)


HOT = (
    "STAT 1:key session:1\r\nSTAT 1:operations 12345\r\nSTAT 1:bytes 4096\r\nSTAT 1:share 0.25\r\n"
    "STAT 2:key page\x1b[2J\r\nSTAT 2:operations 7\r\nSTAT 2:bytes 10\r\nSTAT 2:share 0.01\r\nEND\r\n"
)


def test_hot_keys_are_a_table():
    with scripted({"stats hotkeys": HOT}) as address:
        table = (
            " share  operations  bytes  key\n"
            " 25.0%         12k   4.0K  session:1\n"
            "  1.0%           7    10B  page\\u{1b}[2J\n"
        )
        assert run("hot", server=address) == (0, table, "")
        [document] = documents("hot", "--json", "--limit", "1", server=address)
        key = {"rank": 1, "key": "session:1", "operations": 12345, "bytes": 4096, "share": 0.25}
        assert document["servers"] == [{"server": address, "keys": [key]}]


def test_hot_keys_may_be_off_or_unknown(caches):
    with scripted({"stats hotkeys": "CLIENT_ERROR start with --show-keys\r\n"}) as address:
        code, out, errors = run("hot", server=address)
        assert (code, out) == (69, "")
        assert '"CLIENT_ERROR start with --show-keys"' in errors
    code, out, errors = run("hot", server=caches["memcached"])
    assert (code, out, "does not know `stats hotkeys`" in errors) == (69, "", True)


def test_hot_keys_of_a_real_server(tmp_path, soon):
    with running("nuthatch", tmp_path, "--show-keys") as server, Wire(server.endpoint) as wire:
        wire.store({b"hot:1": Item(b"x" * 100)})

        def is_told():
            wire.socket.sendall(b"get hot:1\r\n" * 1000)
            ends = [wire.line() for _ in range(3000)].count(b"END")
            assert ends == 1000
            [told] = documents("hot", "--json", server=server)[0]["servers"]
            return told["keys"] and told["keys"][0]["key"] == "hot:1"

        assert soon(is_told)
        code, table, _ = run("hot", server=server)
        assert (code, table.splitlines()[1].split()[-1]) == (0, "hot:1")
        top = documents("top", "--count", "1", server=server)[0]["servers"][0]
        assert top["hot"][0]["key"] == "hot:1"


def test_a_namespace_of_a_real_server_is_counted_and_flushed(tmp_path, soon):
    flags = ["--namespaces", "delimiter::"]
    with running("nuthatch", tmp_path, *flags) as server, Wire(server.endpoint) as wire:
        wire.store({b"%s:%d" % (name, n): Item(b"1") for name in [b"page", b"user"] for n in range(9)})

        def items():
            [told] = documents("stats", "namespaces", "--json", server=server)[0]["servers"]
            return {name: told["stats"].get(f"{name}:items") for name in ["page", "user"]}

        assert soon(lambda: items() == {"page": 9, "user": 9})
        [told] = documents("top", "--count", "1", server=server)[0]["servers"]
        assert {"page", "user"} <= {namespace["name"] for namespace in told["namespaces"]}
        assert told["hot"] is None
        flushed = run("flush", "--yes", "--namespace", "page", server=server)
        assert flushed == (0, f"{server.address} is flushed\n", "")
        assert wire.fetch(b"page:1") is None
        assert wire.fetch(b"user:1") == Item(b"1")
        code, out, errors = run("flush", "--yes", "--namespace", "none", server=server)
        assert (code, out, '"NOT_FOUND"' in errors) == (69, "", True)
        code, _, errors = run("hot", server=server)
        assert (code, "--show-keys" in errors) == (69, True)


def test_keys_are_listed(cache):
    with Wire(cache.endpoint) as wire:
        wire.store({b"a:%d" % number: Item(b"1") for number in range(50)})
        wire.store({b"b:1": Item(b"1", ttl=1000), "späß".encode(): Item(b"1")})
    listed = run("keys", server=cache)[1].splitlines()
    assert sorted(listed) == sorted([*[f"a:{number}" for number in range(50)], "b:1", "späß"])
    assert len(run("keys", "--prefix", "a:", "--limit", "7", server=cache)[1].splitlines()) == 7
    assert run("keys", "--prefix", "c", server=cache) == (0, "", "")
    [found] = documents("keys", "--prefix", "b:", "--json", server=cache)
    assert abs(found.pop("expires") - time.time() - 1000) < 10
    assert found == {"schema": 1, "server": cache.address, "key": "b:1", "encoding": "utf-8"}
    # Who reads has seen enough.
    reader = subprocess.run(["bash", "-o", "pipefail", "-c", f"{NUTHATCH} keys --server {cache.address} | head -1"])
    assert reader.returncode == 0


def test_flush_wants_to_be_sure(cache):
    with Wire(cache.endpoint) as wire:
        wire.store({b"k": Item(b"1")})
    code, out, errors = run("flush", server=cache)
    assert (code, out, "say --yes" in errors) == (64, "", True)
    assert run("get", "k", server=cache)[0] == 0
    for answer, code, is_there in [("n\n", 64, True), ("y\n", 0, False)]:
        ended, said = at_terminal(["flush", "--server", cache.address], answer)
        assert (ended, f"Forget all items of {cache.address}? [y/N]" in said) == (code, True)
        assert (run("get", "k", server=cache)[0] == 0) == is_there
    assert run("flush", "--yes", server=cache) == (0, f"{cache.address} is flushed\n", "")


def test_flush_forgets_a_namespace(caches):
    answers = {"flush_namespace session": "OK\r\n", "flush_namespace none": "NOT_FOUND\r\n"}
    with scripted(answers) as address:
        flush = ["flush", "--yes", "--namespace"]
        assert run(*flush, "session", server=address) == (0, f"{address} is flushed\n", "")
        code, _, errors = run(*flush, "none", server=address)
        assert (code, "nuthatch stats namespaces" in errors) == (69, True)
    assert "does not know `flush_namespace x`" in run(*flush, "x", server=caches["memcached"])[2]


@pytest.mark.parametrize("name", ["nuthatch", "memcached"])
def test_a_server_that_may_not_be_flushed_says_so(name, tmp_path):
    with running(name, tmp_path, "-F") as server:
        code, _, errors = run("flush", "--yes", server=server)
        assert (code, "started with -F" in errors) == (69, True)


def test_drain_waits_until_nobody_else_is_connected(caches):
    server = caches["nuthatch"]
    with Wire(server.endpoint) as wire:
        expected = f"{server.address} drains\n"
        errors = f"{server.address}: 1 client is still connected after 300ms\n"
        assert run("drain", "--wait", "300ms", server=server) == (65, expected, errors)
        assert wire.stats()["draining"] == "1"
        process = subprocess.Popen(
            [NUTHATCH, "drain", "--wait", "60s", "--server", server.address],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == expected
        assert process.poll() is None
    assert process.stdout.read() == "no other client is connected\n"
    assert process.wait(RUN_SECONDS_MAX) == 0
    assert run("drain", "--off", server=server) == (0, f"{server.address} serves as before\n", "")
    assert run("stats", "--json", server=server)[1].count('"draining":0') == 1
    assert "does not know `drain`" in run("drain", server=caches["memcached"])[2]


def test_who_may_not_stop_a_server_may_not_drain_it(tmp_path):
    with running("nuthatch", tmp_path) as server:
        code, out, errors = run("drain", "--wait", "1s", server=server)
        assert (code, out, "started with -A" in errors) == (69, "", True)


def test_bench_measures(cache):
    bench = ["bench", "--keys", "100", "--for", "200ms", "--connections", "4"]
    [document] = documents(*bench, "--json", server=cache)
    assert document["operations"] == document["hits"] > 0
    assert (document["errors"], document["unsent"], document["server"]) == (0, 0, cache.address)
    percentiles = [document["latency_us"][name] for name in ["p50", "p90", "p99", "p99.9", "max"]]
    assert percentiles == sorted(percentiles)
    assert len(run("keys", server=cache)[1].splitlines()) == 100
    options = ["--set-percent", "50", "--pipeline", "3", "--popularity", "zipf", "--value-len", "1-200"]
    code, out, errors = run(*bench, *options, server=cache)
    assert (code, errors) == (0, "")
    assert re.match(rf"{re.escape(cache.address)}: \d+ requests in 0\.\d s, ", out)
    assert "\nlatency  p50 " in out and ", errors 0, not sent in time 0\n" in out
    [document] = documents(*bench, "--filled", "--rate", "500", "--multiget", "7", "--json", server=cache)
    assert document["hits"] == 7 * document["operations"] > 0
    assert document["operations"] <= 500


def test_bench_says_what_it_cannot_measure():
    assert run("bench", server="/nowhere")[0] == 64
    code, _, errors = run("bench", server=UNREACHABLE)
    assert (code, "Is the server running?" in errors) == (69, True)
    assert run("bench", "--rate", "0")[0] == 1
    assert run("bench", "--value-len", "9-1")[0] == 1
