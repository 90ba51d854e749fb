"""The three Python clients read each other's values, by the client flags that the server kept."""

from contextlib import closing

import memcache
import pylibmc
import pymemcache
import pytest
from pymemcache.serde import CompressedSerde

from values import EVERY_TYPE


def pymemcache_client(server):
    """Compresses from 400 bytes on, and reads compressed values of any length."""
    return pymemcache.Client(server.endpoint, serde=CompressedSerde(), default_noreply=False)


CLIENTS = {
    "pymemcache": pymemcache_client,
    "pylibmc": lambda server: pylibmc.Client([server.address]),
    "python-memcached": lambda server: memcache.Client([server.address]),
}


@pytest.fixture(params=CLIENTS)
def writer(request, server):
    return CLIENTS[request.param](server)


@pytest.fixture(params=CLIENTS)
def reader(request, server):
    return CLIENTS[request.param](server)


@pytest.mark.parametrize("value", EVERY_TYPE, ids=str)
def test_what_one_client_wrote_another_reads(writer, reader, value):
    writer.set("k", value)
    assert reader.get("k", "missing") == value


def test_what_one_client_counted_another_counts_on(writer, reader):
    writer.set("k", 41)
    assert reader.incr("k", 1) == 42
    assert writer.get("k") == 42


@pytest.mark.parametrize("compressing", ["pylibmc", "python-memcached"])
def test_what_one_client_compressed_another_reads(server, reader, compressing):
    value = "long é " * 1000
    CLIENTS[compressing](server).set("k", value, min_compress_len=100)
    assert reader.get("k") == value


def test_what_pymemcache_compressed_another_reads(server, reader):
    value = "long é " * 1000
    CLIENTS["pymemcache"](server).set("k", value)
    assert reader.get("k") == value


FLAGS = [
    ("pymemcache", b"bytes", 0),
    ("pymemcache", "text", 16),
    ("pymemcache", 1, 2),
    ("pymemcache", True, 1),
    ("pymemcache", "long " * 100, 24),
    ("pylibmc", b"bytes", 0),
    ("pylibmc", "text", 16),
    ("pylibmc", 1, 4),
    ("pylibmc", True, 2),
    ("pylibmc", None, 1),
    ("python-memcached", b"bytes", 0),
    ("python-memcached", "text", 16),
    ("python-memcached", 1, 2),
    ("python-memcached", True, 1),
]


@pytest.mark.parametrize(("name", "value", "flags"), FLAGS)
def test_the_flags_on_the_wire_are_those_the_client_chose(server, name, value, flags):
    CLIENTS[name](server).set("k", value)
    with closing(pymemcache.Client(server.endpoint)) as raw:
        assert raw.raw_command("get k", "END\r\n").startswith(b"VALUE k %d " % flags)


def test_a_ring_of_two_is_shared_by_python_memcached_and_pylibmc_with_crc(server, second_server):
    addresses = [server.address, second_server.address]
    values = {f"key-{index}": index for index in range(100)}
    memcache.Client(addresses).set_multi(values)
    ring = pylibmc.Client(addresses, behaviors={"hash": "crc"})
    assert ring.get_multi(list(values)) == values
