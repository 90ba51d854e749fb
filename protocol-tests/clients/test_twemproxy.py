"""twemproxy in front of a ring of three nodes: its clients see one server that has all of their memory."""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager

import pylibmc
import pytest
from pymemcache import Client, MemcacheError

from servers import HOST, NUTHATCH, ROOT, START_SECONDS_MAX, running

GOLDEN = ROOT / "src/client/tests/ketama-golden.json"
KEYS = [f"key:{number}" for number in range(300)]
RETRY_MILLISECONDS = 500
LARGE = os.urandom(1_000_000)

CONFIGURATION = """
ring:
  listen: {listen}
  hash: {hash}
  distribution: ketama
  timeout: 2000
  server_connections: 1
  auto_eject_hosts: true
  server_failure_limit: 1
  server_retry_timeout: {retry}
  servers:
{servers}
"""


def free_port():
    with closing(socket.create_server((HOST, 0))) as found:
        return found.getsockname()[1]


def listens(path):
    with closing(socket.socket(socket.AF_UNIX)) as client:
        return client.connect_ex(str(path)) == 0


@contextmanager
def twemproxy(directory, servers, key_hash="md5"):
    """Runs one in front of these servers, each `address:weight[ name]`; yields the path of its socket."""
    path, configuration = directory / "proxy", directory / "nutcracker.yml"
    listed = "\n".join(f"   - {server}" for server in servers)
    values = {"listen": f"{path} 0700", "retry": RETRY_MILLISECONDS, "servers": listed}
    configuration.write_text(CONFIGURATION.format(hash=key_hash, **values))
    # Its statistics want a port, whether or not anybody asks for them.
    command = ["nutcracker", "-c", configuration, "-a", HOST, "-s", str(free_port())]
    process = subprocess.Popen([*command, "-p", directory / "pid", "-o", directory / "log"])
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not listens(path):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, "nutcracker does not listen"
            time.sleep(0.01)
        yield str(path)
    finally:
        process.kill()
        process.wait()


def unnamed(nodes):
    return [f"{node.address}:1" for node in nodes]


@pytest.fixture(scope="module", params=["nuthatch", "memcached"])
def nodes(request, tmp_path_factory):
    with ExitStack() as stack:
        started = [running(request.param, tmp_path_factory.mktemp("node")) for _ in range(3)]
        yield [stack.enter_context(node) for node in started]


@pytest.fixture
def proxy(nodes, tmp_path):
    for node in nodes:
        node.flush()
    with twemproxy(tmp_path, unnamed(nodes)) as path:
        yield path


@pytest.fixture
def client(proxy):
    with closing(Client(proxy, default_noreply=False, timeout=60)) as client:
        yield client


def held(node, keys):
    with closing(Client(node.endpoint, allow_unicode_keys=True)) as direct:
        return set(direct.get_many(keys))


def test_a_key_is_where_libmemcached_looks_for_it(client, nodes):
    for key in KEYS:
        assert client.set(key, key)
    ring = pylibmc.Client([node.address for node in nodes], behaviors={"ketama_weighted": True})
    assert ring.get_multi(KEYS) == {key: key.encode() for key in KEYS}
    found = [held(node, KEYS) for node in nodes]
    assert sum(map(len, found)) == len(KEYS)
    assert min(map(len, found)) > len(KEYS) // 6
    for key in KEYS:
        assert ring.set(key, b"from libmemcached")
    assert set(client.get_many(KEYS).values()) == {b"from libmemcached"}


@pytest.mark.skipif(not GOLDEN.exists(), reason="these are with the client crate")
@pytest.mark.parametrize("ring", ["eq3", "w123"])
@pytest.mark.parametrize("key_hash", ["md5", "fnv1a_64"])
def test_a_key_is_where_the_golden_vectors_say(nodes, tmp_path, ring, key_hash):
    """The nodes bear the names of those vectors, which is all that counts for the place of a key."""
    golden = json.loads(GOLDEN.read_text())
    ring = golden["rings"][ring]
    digits = ring["assign"]["ketama" if key_hash == "md5" else f"twemproxy_{key_hash}"]
    expected = {key.encode(): int(digit, 36) for key, digit in zip(golden["keys"], digits)}
    names = [name.removesuffix(":11211") for name in ring["nodes"]]
    described = zip(nodes, ring["weights"], names)
    servers = [f"{node.address}:{weight} {name}" for node, weight, name in described]
    for node in nodes:
        node.flush()
    with twemproxy(tmp_path, servers, key_hash) as path:
        with closing(Client(path, allow_unicode_keys=True, default_noreply=False)) as client:
            assert client.set_many(dict.fromkeys(expected, "1")) == []
    found = [held(node, expected) for node in nodes]
    assert [key for key, index in expected.items() if key not in found[index]] == []
    assert sum(map(len, found)) == len(expected) == 2000


def test_a_multiget_reaches_all_nodes(client):
    assert client.set_many({key: key for key in KEYS}) == []
    missing = [f"missing:{number}" for number in range(100)]
    assert client.get_many(KEYS + missing) == {key: key.encode() for key in KEYS}
    assert set(client.gets_many(KEYS)) == set(KEYS)
    assert client.delete_many(KEYS[::2])
    assert set(client.get_many(KEYS)) == set(KEYS[1::2])


def test_every_command_that_it_forwards_answers_as_without_it(client):
    for key in KEYS[:30]:
        assert not client.replace(key, "1")
        assert not client.append(key, "1")
        assert client.add(key, "10", expire=100)
        assert not client.add(key, "2")
        assert client.incr(key, 5) == 15
        assert client.decr(key, 7) == 8
        assert client.incr("missing:" + key, 1) is None
        assert client.touch(key, 100)
        assert not client.touch("missing:" + key, 100)
        assert client.append(key, "b")
        assert client.prepend(key, "a")
        value, cas = client.gets(key)
        assert value.startswith(b"a8") and value.endswith(b"b")
        assert client.replace(key, "3")
        assert client.cas(key, "4", cas) is False
        assert client.cas(key, "4", client.gets(key)[1])
        assert client.cas("missing:" + key, "4", cas) is None
        assert client.get(key) == b"4"
        assert client.set(key, LARGE)
        assert client.get(key) == LARGE
        assert client.delete(key)
        assert not client.delete(key)
        assert client.get(key) is None


def test_without_replies_it_keeps_in_step(client):
    for key in KEYS:
        assert client.set(key, key, noreply=True)
    assert client.delete(KEYS[0], noreply=True)
    assert client.get_many(KEYS) == {key: key.encode() for key in KEYS[1:]}


def test_what_is_too_large_is_refused_and_the_connection_goes_on(client):
    with pytest.raises(MemcacheError):
        client.set("large", b"1" * 1_100_000)
    assert client.set("k", "v")
    assert client.get("k") == b"v"


def stored(proxy, key):
    """Whether the key can be set and read, on a connection of its own."""
    try:
        with closing(Client(proxy, default_noreply=False, timeout=60)) as client:
            return client.set(key, key) and client.get(key) == key.encode()
    except MemcacheError:
        return False


def test_a_node_that_dies_is_ejected_and_comes_back(nodes, tmp_path, soon):
    survivors, name = nodes[:2], nodes[2].name
    for node in survivors:
        node.flush()
    died = pytest.raises(AssertionError, match="died with status -9")
    with died, running(name, tmp_path) as mortal:
        with twemproxy(tmp_path, unnamed([*survivors, mortal])) as proxy:
            assert all(stored(proxy, key) for key in KEYS)
            there = held(mortal, KEYS)
            assert there
            os.kill(mortal.pid, signal.SIGKILL)
            # One failure ejects it; the keys of the others are not touched by that.
            assert soon(lambda: all(stored(proxy, key) for key in KEYS))
            assert held(survivors[0], KEYS) | held(survivors[1], KEYS) == set(KEYS)
            (tmp_path / "again").mkdir()
            with running(name, tmp_path / "again", "-p", str(mortal.port)) as again:
                assert soon(lambda: stored(proxy, min(there)) and held(again, there))


def test_a_dump_is_loaded_through_it(proxy, client, nodes, tmp_path):
    """It closes the connection of who asks for a meta command, and the tool then does without."""
    (tmp_path / "dumped").mkdir()
    with running("nuthatch", tmp_path / "dumped") as source:
        with closing(Client(source.endpoint)) as filled:
            assert filled.set_many({key: key for key in KEYS}, expire=100, noreply=False) == []
        command = [NUTHATCH, "prime", "--from", source.address, "--server", proxy]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (result.returncode, f"added {len(KEYS)} items" in result.stderr) == (0, True)
    assert client.get_many(KEYS) == {key: key.encode() for key in KEYS}
    assert min(len(held(node, KEYS)) for node in nodes) > 0
