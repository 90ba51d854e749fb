"""The Rust client's ring puts keys where the Python clients really put them, on three running daemons."""

import subprocess
from contextlib import ExitStack, closing

import pylibmc
import pymemcache
import pytest

from servers import LOCATE, running

# ASCII, other letters, and keys of the full 250 bytes.
KEYS = (
    [f"user:{index}:profile" for index in range(9000)]
    + [f"größe:{index}:日本" for index in range(500)]
    + [f"{index:0250}" for index in range(500)]
)
WEIGHTS = {"equal": [1, 1, 1], "weighted": [1, 2, 3]}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with ExitStack() as stack:
        started = [
            stack.enter_context(running("nuthatch", tmp_path_factory.mktemp("node")))
            for _ in range(3)
        ]
        yield started


def located(nodes, weights, distribution):
    """The address of each key's node, as the Rust client says."""
    command = [LOCATE, "--distribution", distribution]
    for node, weight in zip(nodes, weights):
        command += ["--node", f"{node.address}={weight}"]
    keys = "".join(f"{key}\n" for key in KEYS)
    output = subprocess.run(command, input=keys, capture_output=True, text=True, timeout=30)
    assert output.returncode == 0, output.stderr
    return dict(line.rsplit("\t", 1) for line in output.stdout.splitlines())


def placed(nodes):
    """The address of each key's node, as the nodes themselves say."""
    found = {}
    for node in nodes:
        with closing(pymemcache.Client(node.endpoint, encoding="utf-8", allow_unicode_keys=True)) as client:
            for start in range(0, len(KEYS), 500):
                for key in client.get_many(KEYS[start : start + 500]):
                    assert key not in found, f"{key} is on two nodes"
                    found[key] = node.address
    return found


def flush(nodes):
    for node in nodes:
        node.flush()


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize(
    ("distribution", "behaviors"),
    [
        ("ketama", {"ketama_weighted": True}),
        ("libmemcached-default", {"ketama": True}),
        ("libmemcached-md5", {"ketama": True, "hash": "md5"}),
    ],
)
def test_pylibmc_stores_where_the_client_looks(nodes, weights, distribution, behaviors):
    flush(nodes)
    servers = [f"{node.address}:{weight}" for node, weight in zip(nodes, weights)]
    client = pylibmc.Client(servers, behaviors=behaviors)
    assert client.set_multi({key: "value" for key in KEYS}) == []
    client.disconnect_all()
    assert placed(nodes) == located(nodes, weights, distribution)


def test_pymemcache_stores_where_the_client_looks(nodes):
    flush(nodes)
    client = pymemcache.HashClient(
        [node.endpoint for node in nodes], encoding="utf-8", allow_unicode_keys=True
    )
    assert client.set_many({key: "value" for key in KEYS}, noreply=False) == []
    client.close()
    assert placed(nodes) == located(nodes, [1, 1, 1], "pymemcache")
