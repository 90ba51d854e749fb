"""Clients of ElastiCache, which ask one node for all: they find every node that --cluster-nodes lists."""

import subprocess
import sys
from contextlib import closing, contextmanager

import pytest
from pymemcache import Client, MemcacheUnknownCommandError
from pymemcache.client.hash import HashClient

from servers import HOST, running

KEYS = [f"key:{number}" for number in range(300)]

# It asks every node that it has been told of, and prints what it has read. In a process of its own: it changes how
# python-memcached places keys.
ELASTICACHE_PYCLIENT = """
import sys
from elasticache_pyclient import MemcacheClient
client = MemcacheClient(sys.argv[1])
for number in range(300):
    assert client.set(f"key:{number}", number)
    assert client.get(f"key:{number}") == number
print(client.cluster_size())
client.stop_timer()
"""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with (
        running("nuthatch", tmp_path_factory.mktemp("one")) as one,
        running("nuthatch", tmp_path_factory.mktemp("two")) as two,
    ):
        yield one, two


@contextmanager
def asked(tmp_path_factory, nodes, hosts):
    listed = [f"{host}|{HOST}|{node.port}" for host, node in zip(hosts, nodes)]
    directory = tmp_path_factory.mktemp("asked")
    with running("nuthatch", directory, "--cluster-nodes", ",".join(listed)) as server:
        yield server


def discovered(server):
    """The addresses of all nodes, asked for and read as AWSElastiCacheHashClient of pymemcache's main branch does; it
    is in no release yet, but the method that it asks with is."""
    with closing(Client(server.endpoint)) as client:
        answer = client.raw_command(b"config get cluster", end_tokens=b"\n\r\nEND\r\n")
    *_, nodes = answer.splitlines()
    described = [node.split("|") for node in nodes.decode().split(" ")]
    return [(ip, int(port)) for _, ip, port in described]


def items(nodes):
    for node in nodes:
        with closing(Client(node.endpoint)) as client:
            yield int(client.stats()[b"curr_items"])


def test_pymemcache_spreads_keys_over_the_nodes_that_it_is_told_of(tmp_path_factory, nodes):
    for node in nodes:
        node.flush()
    with asked(tmp_path_factory, nodes, ["a.example", "b.example"]) as server:
        found = discovered(server)
        assert found == [node.endpoint for node in nodes]
        client = HashClient(found)
        for key in KEYS:
            assert client.set(key, key, noreply=False)
        assert client.get_many(KEYS) == {key: key.encode() for key in KEYS}
        client.close()
        assert [count for count in items(nodes) if count < len(KEYS) // 4] == []
        assert list(items([server])) == [0]


def test_elasticache_pyclient_finds_the_nodes(tmp_path_factory, nodes):
    with asked(tmp_path_factory, nodes, ["localhost", HOST]) as server:
        command = [sys.executable, "-W", "ignore", "-c", ELASTICACHE_PYCLIENT, server.address]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (result.returncode, result.stdout) == (0, "2\n"), result.stderr


def test_without_the_flag_there_is_no_cluster(server):
    with closing(Client(server.endpoint)) as client, pytest.raises(MemcacheUnknownCommandError):
        client.raw_command(b"config get cluster")
