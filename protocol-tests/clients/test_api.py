"""/api/v1/stats: the same numbers as `stats` and /metrics, after a load from several clients at once."""

import json
import random
import threading
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymemcache import Client

from admin import administered
from wire import Wire

CLIENTS = 4
REQUESTS = 3000

# Reading them changes them, or time does.
RESTLESS = {"time", "uptime", "rusage_user", "rusage_system", "total_connections", "bytes_read", "bytes_written"}

# What the API calls differently: path to series.
SERIES = {
    "commands.get.hits": 'memcached_commands_total{command="get",status="hit"}',
    "commands.get.misses": 'memcached_commands_total{command="get",status="miss"}',
    "commands.touch.hits": 'memcached_commands_total{command="touch",status="hit"}',
    "commands.delete.misses": 'memcached_commands_total{command="delete",status="miss"}',
    "commands.cas.badval": 'memcached_commands_total{command="cas",status="badval"}',
    "evictions.total": "memcached_items_evicted_total",
    "evictions.unfetched": 'memcached_slab_items_evicted_unfetched_total{slab="1"}',
    "evictions.with_expiry": 'memcached_slab_items_evicted_nonzero_total{slab="1"}',
    "evictions.last_idle_seconds": 'memcached_slab_items_evicted_time_seconds_total{slab="1"}',
    "server.descriptors_max": "memcached_process_max_fds",
    "memory.limit_bytes": "memcached_limit_bytes",
    "memory.charged_bytes": "memcached_malloced_bytes",
    "compression.input_bytes": "nuthatch_compression_input_bytes_total",
    "compression.stored_bytes": "nuthatch_compression_stored_bytes_total",
    "compression.decompression_failures": "nuthatch_decompression_failures_total",
    "shards.count": "nuthatch_shards",
    "shards.lock_waits": "nuthatch_lock_waits_total",
    "shards.items_skew_ratio": "nuthatch_shard_items_skew_ratio",
}

# Where each member of an object is a series with that label.
FAMILIES = {
    "miss_reasons": ("nuthatch_miss_total", "reason"),
    "limit_hits": ("nuthatch_limit_hits_total", "limit"),
    "connections": ("nuthatch_connections", "state"),
    "compression.skipped": ("nuthatch_compression_skipped_total", "reason"),
}

HISTOGRAMS = {
    "items.size_bytes": "nuthatch_item_size_bytes",
    "items.ttl_seconds": "nuthatch_item_ttl_seconds",
    "items.age_seconds": "nuthatch_item_age_seconds",
    "evictions.age_seconds": "nuthatch_evicted_item_age_seconds",
    "evictions.idle_seconds": "nuthatch_evicted_item_idle_seconds",
}


def at(told, path):
    for name in path.split("."):
        told = told[name]
    return told


def load(server, seed):
    """Everything that is counted, of few keys and many, with more than there is room for."""
    choose = random.Random(seed)
    with closing(Client(server.endpoint, default_noreply=False)) as client:
        for _ in range(REQUESTS):
            key = f"space-{seed}:key-{int(choose.paretovariate(0.6)) % 5000}"
            if client.get(key) is None:
                make = choose.choice([choose.randbytes, lambda size: b"v" * size])
                client.set(key, make(choose.randrange(12_000)), expire=choose.choice([0, 1, 1000]))
            if choose.random() < 0.1:
                client.touch(key, 100)
                client.delete(f"space-{seed}:key-{choose.randrange(5000)}")
                client.incr("number", 1), client.cas(key, b"w", b"1")
                client.set("counter", "7"), client.incr("counter", 1), client.incr("counter", 1)
                client.decr("counter", 1), client.decr("number", 1), client.decr("number", 1)
                client.set(f"large-{choose.randrange(50)}", choose.randbytes(20_000))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("api")
    with administered(directory, "-m", "2", "-I", "64k", "--compress-min", "100") as admin:
        clients = [threading.Thread(target=load, args=(admin.server, seed)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        yield admin


def settled(admin):
    """What `stats`, the API and /metrics tell, once nothing changes: what has expired is swept away by then."""
    with Wire(admin.server.endpoint) as wire:
        before = None
        for _ in range(100):
            stats, told, metrics = wire.stats(), admin.stats(), admin.get("/metrics")
            quiet = {name: value for name, value in stats.items() if name not in RESTLESS}
            if quiet == before:
                return quiet, told, samples(metrics)
            before = quiet
    raise AssertionError("the numbers do not settle")


def samples(metrics):
    families = text_string_to_metric_families(metrics)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def series(metrics, text):
    [(key, _)] = samples(f"{text} 0\n").items()
    return metrics[key]


def by_namespace(metrics, family, name):
    found = [(dict(labels), value) for (known, labels), value in metrics.items() if known == family]
    return [(labels, value) for labels, value in found if labels["namespace"] == name]


def test_stats_and_metrics_and_the_api_are_equal_after_a_load(loaded):
    stats, told, metrics = settled(loaded)
    assert int(stats["evictions"]) > 0 and int(stats["get_hits"]) > 0
    assert {name: str(told["stats"][name]) for name in stats} == stats
    for path, name in SERIES.items():
        assert at(told, path) == pytest.approx(series(metrics, name)), path
    for path, (family, label) in FAMILIES.items():
        for name, value in at(told, path).items():
            assert value == series(metrics, f'{family}{{{label}="{name}"}}'), (path, name)
    for command, counts in told["commands"].items():
        for what, value in counts.items():
            name = {"meta": "meta", "flush_all": "flush"}.get(command, command)
            assert str(value) == stats[f"cmd_{name}" if what == "count" else f"{name}_{what}"], (command, what)
    spaces = {row["name"]: row for row in told["keys"]["namespaces"]}
    family = "nuthatch_namespace_requests_total"
    for name, row in spaces.items():
        of = {
            (labels["command"], labels["result"]): value
            for labels, value in by_namespace(metrics, family, name)
        }
        assert row["requests"] == sum(of.values()), name
        assert (row["hits"], row["misses"]) == (of["get", "hit"], of["get", "miss"]), name
        assert row["sets"] == of["set", "hit"], name
        for number, series_of in [("items", "items"), ("bytes", "bytes"), ("evictions", "evictions_total")]:
            [(_, value)] = by_namespace(metrics, f"nuthatch_namespace_{series_of}", name)
            assert row[number] == value, (name, number)
    for path, name in HISTOGRAMS.items():
        distribution = at(told, path)
        assert distribution["count"] == series(metrics, f"{name}_count"), path
        assert distribution["count"] == sum(distribution["counts"]), path
        # The age of items grows meanwhile.
        if not path.startswith("items.") or path == "items.size_bytes":
            assert distribution["sum"] == pytest.approx(series(metrics, f"{name}_sum")), path
    evictions = [at(told, f"evictions.{ages}.count") for ages in ("age_seconds", "idle_seconds")]
    assert evictions == [told["evictions"]["total"]] * 2
    for state in ("items", "index", "bookkeeping"):
        assert told["memory"]["states"][state] == series(metrics, f'nuthatch_memory_bytes{{state="{state}"}}'), state
    assert told["memory"]["resident_bytes"] < told["memory"]["virtual_bytes"]
    assert told["server"]["open_descriptors"] < told["server"]["descriptors_max"]
    shards, items = told["shards"], told["items"]
    assert shards["items_max"] * shards["count"] / int(stats["curr_items"]) == pytest.approx(shards["items_skew_ratio"])
    assert items["without_expiry"] + items["ttl_seconds"]["count"] == items["size_bytes"]["count"]
    assert told["hit_ratio"] == int(stats["get_hits"]) / int(stats["cmd_get"])
    assert sum(told["miss_reasons"].values()) == int(stats["get_misses"]) + int(stats["touch_misses"])


def test_latencies_are_those_of_the_histogram(loaded):
    _, told, metrics = settled(loaded)
    family = "nuthatch_command_duration_seconds"
    for command, latency in told["latency_seconds"].items():
        labels = frozenset({("command", command)})
        assert latency["count"] == sum(latency["counts"]) == metrics[f"{family}_count", labels]
        assert latency["sum"] == pytest.approx(metrics[f"{family}_sum", labels])
        below = 0
        for end, count in zip(latency["upper_bounds"], latency["counts"]):
            below += count
            [bucket] = [
                value
                for (name, labels), value in metrics.items()
                if name == f"{family}_bucket"
                and dict(labels)["command"] == command
                and float(dict(labels)["le"]) == end
            ]
            assert bucket == below, (command, end)
    get = told["latency_seconds"]["get"]
    assert get["count"] > 0 and get["p50"] <= get["p99"] <= get["p999"]


def test_settings_have_their_origins(tmp_path, monkeypatch):
    file = tmp_path / "nuthatch.toml"
    file.write_text("conn-limit = 77\n")
    monkeypatch.setenv("NUTHATCH_THREADS", "3")
    with administered(tmp_path, "--config", str(file), "-I", "2m") as admin:
        told = admin.stats()["settings"]
    assert told["max-item-size"] == {"value": "2m", "origin": "flag"}
    assert told["threads"] == {"value": 3, "origin": "environment", "variable": "NUTHATCH_THREADS"}
    assert told["conn-limit"] == {"value": 77, "origin": "file", "file": str(file)}
    assert told["restore-max-age"] == {"value": 300, "origin": "default"}


def test_what_is_told_has_a_version(loaded):
    told = json.loads(loaded.get("/api/v1/stats"))
    assert told["schema"] == 1
    assert list(told)[0] == "schema"
