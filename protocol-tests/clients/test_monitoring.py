"""What operators watch a cache with: memcached-tool, Munin's plugin, and the exporter for Prometheus."""

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from pymemcache import Client

import exporter
from servers import running
from wire import Item, Wire

MEMCACHED_TOOL = "/usr/share/memcached/scripts/memcached-tool"
MUNIN_PLUGIN = Path("/usr/share/munin/plugins/memcached_")


@pytest.fixture(params=["nuthatch", "memcached"])
def fresh(request, tmp_path):
    """A daemon that has served nobody."""
    with running(request.param, tmp_path, "-o", "track_sizes") as server:
        yield server


@pytest.fixture
def client(fresh):
    with closing(Client(fresh.endpoint, default_noreply=False)) as client:
        yield client


@pytest.fixture
def tool(fresh):
    """Runs memcached-tool."""

    def run(*arguments):
        command = ["perl", MEMCACHED_TOOL, fresh.address, *arguments]
        result = subprocess.run(command, capture_output=True, timeout=30)
        assert result.returncode == 0, result.stderr
        return result.stdout.decode()

    return run


def fields(printed):
    """The names and values below the heading."""
    return dict(line.split(maxsplit=1) for line in printed.splitlines()[1:])


def test_memcached_tool_displays_what_each_class_holds(tool, client):
    assert len(tool("display").splitlines()) <= 2
    for number in range(500):
        client.set(f"key:{number}", "1" * 100)
    heading, *rows = tool().splitlines()
    assert heading.split()[:5] == ["#", "Item_Size", "Max_age", "Pages", "Count"]
    counts = []
    for row in rows:
        pattern = r" *\d+ +[\d.]+[BK] +\d+s +\d+ +(\d+) +(?:yes|no) +\d+ +\d+ +\d+"
        counts.append(int(re.fullmatch(pattern, row)[1]))
    assert sum(counts) == 500


def test_memcached_tool_shows_statistics_and_settings(tool, client):
    client.set("k", "v")
    stats = fields(tool("stats"))
    assert (stats["cmd_set"], stats["curr_items"]) == ("1", "1")
    assert float(stats["rusage_user"]) >= 0
    settings = fields(tool("settings"))
    assert (settings["maxbytes"], settings["udpport"]) == (str(64 << 20), "0")


def test_memcached_tool_counts_sizes(tool, client):
    client.set("short", "1")
    client.set("long", "1" * 1000)
    client.set("longer", "1" * 1001)
    assert sorted(fields(tool("sizes")).values()) == ["1", "2"]


def test_what_memcached_tool_dumps_can_be_added_again(tool, client, fresh):
    stored = {b"k%d" % number: Item(b"value %d" % number, number, 1000) for number in range(100)}
    with Wire(fresh.endpoint) as wire:
        wire.store(stored)
        dumped = tool("dump")
        assert len(tool("keys").splitlines()) == len(stored)
        assert 0 < len(tool("keys", "10").splitlines()) <= 10
        fresh.flush()
        wire.socket.sendall(dumped.encode())
        assert {wire.line() for _ in stored} == {b"STORED"}
        for key, item in stored.items():
            found = wire.fetch(key)
            assert (found.value, found.flags) == (item.value, item.flags)
            assert 990 < found.ttl <= 1001


@pytest.fixture
def munin(fresh, tmp_path):
    """Runs Munin's plugin under the name that says what it shall show."""

    def run(graph, *arguments):
        link = tmp_path / f"memcached_{graph}"
        link.symlink_to(MUNIN_PLUGIN) if not link.exists() else None
        environment = os.environ | {"host": fresh.endpoint[0], "port": str(fresh.port)}
        command = [link, *arguments]
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30
        )
        assert result.returncode == 0, result.stderr
        return dict(line.split(" ", 1) for line in result.stdout.splitlines())

    return run


def test_munin_finds_every_value_that_it_draws(munin, client):
    for number in range(20):
        client.set(f"k{number}", "1")
    client.get_many(["k1", "k2", "missing"])
    found = {}
    for graph in ["rates", "bytes", "counters"]:
        assert "graph_title" in munin(graph, "config")
        found |= munin(graph)
    values = {name.removesuffix(".value"): int(value) for name, value in found.items()}
    assert values["memcache_cache_hits"] == 2
    assert values["memcache_cache_misses"] == 1
    assert values["memcache_cmd_get"] == 3
    assert values["memcache_cmd_set"] == 20
    assert values["memcache_total_items"] == 20
    assert values["memcache_curr_items"] == 20
    assert values["memcache_total_connections"] >= 2
    assert values["memcache_curr_connections"] >= 2
    assert values["memcache_bytes_read"] > 0
    assert values["memcache_bytes_written"] > 0
    assert values["memcache_bytes_allocated"] > 0
    assert len(values) == 11


# Some of each command, and how often each ends in which way.
COUNTS = {
    ("set", "hit"): 30 + 5 + 2,
    ("get", "hit"): 11,
    ("get", "miss"): 4,
    ("delete", "hit"): 1,
    ("delete", "miss"): 2,
    ("incr", "hit"): 3,
    ("incr", "miss"): 1,
    ("decr", "hit"): 2,
    ("decr", "miss"): 1,
    ("cas", "hit"): 1,
    ("cas", "miss"): 1,
    ("cas", "badval"): 1,
    ("touch", "hit"): 2,
    ("touch", "miss"): 1,
    ("flush", "hit"): 1,
}


def use(client):
    client.flush_all()
    for number in range(30):
        client.set(f"k{number}", "10")
    for number in range(5):
        client.add(f"k{number}", "10")
        client.get(f"missing{number}") if number < 4 else None
    client.set_many({"a": "1", "b": "2"})
    client.get_many([f"k{number}" for number in range(10)])
    _, cas = client.gets("k0")
    client.cas("k0", "1", cas)
    client.cas("k0", "1", cas)
    client.cas("missing", "1", cas)
    for key in ["k1", "k2", "k3", "missing"]:
        client.incr(key, 1)
    for key in ["k1", "k2", "missing"]:
        client.decr(key, 1)
        client.touch(key, 100)
    for key in ["k1", "missing", "missing"]:
        client.delete(key)


def test_the_exporter_finds_every_metric(fresh, client):
    """The same names, with labels of the same shape, for both servers."""
    use(client)
    with Wire(fresh.endpoint) as wire:
        # Only then it shows how many items are temporary.
        assert wire.ask(b"lru temp_ttl 60") == b"OK"
        metrics = exporter.scrape(wire)
    assert {name for name, *_ in metrics} == exporter.NAMES
    assert len(exporter.NAMES) + exporter.ELSEWHERE == 103
    counts = {key[1:]: value for key, value in metrics.items() if key[0] == "commands_total"}
    assert counts == COUNTS
    slabs = {key[1] for key in metrics if key[0].startswith("slab_")}
    assert "1" in slabs
    for slab in slabs:
        hits = {key[2:] for key in metrics if key[:2] == ("slab_commands_total", slab)}
        assert hits == {("cas", "badval"), ("set", "hit"), *((c, "hit") for c in exporter.COMMANDS)}
        lru = {key[2] for key in metrics if key[:2] == ("slab_lru_hits_total", slab)}
        assert lru == set(exporter.LRU_HITS.values())
    for name, expected in [("current_items", 31.0), ("limit_bytes", float(64 << 20))]:
        assert metrics[name,] == expected
    assert metrics["max_connections",] == 1024
    by_class = [value for key, value in metrics.items() if key[0] == "slab_current_items"]
    assert sum(by_class) == 31


def test_the_exporter_finds_an_unused_server_up(fresh):
    with Wire(fresh.endpoint) as wire:
        metrics = exporter.scrape(wire)
    assert metrics["up",] == 1
    # Without items there is no class in `stats items`; each server has its own in `stats slabs`.
    missing = exporter.NAMES - {name for name, *_ in metrics}
    assert all(name.startswith("slab_") for name in missing), missing
