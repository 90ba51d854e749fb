"""/metrics against memcached's exporter, read by the parser of Prometheus' own client and by promtool."""

import os
import random
import re
import resource
import socket
import subprocess
import time
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymemcache import Client

import exporter
from servers import START_SECONDS_MAX, running
from wire import Wire

# promtool's only complaints: how the exporter calls these, and so must we.
MISNAMED = {
    "memcached_slab_items_evicted_time_seconds",
    "memcached_slab_items_moves_to_cold",
    "memcached_slab_items_moves_to_warm",
    "memcached_slab_items_moves_within_lru",
    "memcached_slab_mem_requested_bytes",
    "memcached_uptime_seconds",
}

# What it has from the system, if it is told of a file with the process id.
OF_THE_SYSTEM = {
    ("process_cpu_seconds_total",),
    ("process_open_fds",),
    ("process_max_fds",),
    ("process_resident_memory_bytes",),
    ("process_virtual_memory_bytes",),
    ("process_start_time_seconds",),
}

MEMORY_ERROR_MAX = 0.05
# Of a daemon that has stored little: pages that the allocator has and that nobody has touched.
MEMORY_ERROR_BYTES_MAX = 2 << 20
CONNECTIONS = 900
READERS = 2000

# In the log.
ADMIN = re.compile(r"admin=Some\((.+?)\)")


@pytest.fixture
def start(tmp_path):
    """Runs nuthatch with a listener for metrics; yields it and its page."""
    with open(tmp_path / "log", "w+") as log:

        def start(*flags):
            return running("nuthatch", tmp_path, "--admin", "127.0.0.1:0", *flags, log=log)

        def page():
            deadline = time.monotonic() + START_SECONDS_MAX
            while not (admin := ADMIN.search((tmp_path / "log").read_text())):
                assert time.monotonic() < deadline, "the log does not name the address for metrics"
                time.sleep(0.01)
            with urllib.request.urlopen(f"http://{admin[1]}/metrics", timeout=60) as response:
                assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
                return response.read().decode()

        yield start, page


def told_series(page):
    """What the page tells: (name, labels) to (type, value). Each family has HELP and is there once."""
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    written = {re.match(r"\w+", line)[0] for line in lines}
    series, names = {}, set()
    for family in text_string_to_metric_families(page):
        assert family.name not in names and family.documentation, family.name
        names.add(family.name)
        for sample in family.samples:
            # The parser adds what the exporter leaves out.
            name = sample.name if sample.name in written else sample.name.removesuffix("_total")
            assert name in written, name
            key = name, frozenset(sample.labels.items())
            assert key not in series, key
            series[key] = family.type, sample.value
    return series


def exporters_key(name, labels):
    """The series as `exporter` has it: labels by their values, in the exporter's order."""
    labels = dict(labels)
    order = ("slab", "lru", "command", "status", "version")
    values = [labels.pop(label) for label in order if label in labels]
    assert not labels, labels
    return (name.removeprefix("memcached_"), *values)


def use(server):
    """Some of everything."""
    with closing(Client(server.endpoint, default_noreply=False)) as client:
        for number in range(100):
            client.set(f"key-{number}", "v" * number, expire=number % 3 * 1000)
        client.get_many([f"key-{number}" for number in range(50, 150)])
        client.set("n", "5")
        client.incr("n", 1), client.decr("n", 2), client.incr("none", 1), client.decr("none", 1)
        client.delete("key-1"), client.delete("key-1")
        client.touch("key-2"), client.touch("key-1")
        _, cas = client.gets("key-3")
        for unique in (cas, b"1"):
            client.cas("key-3", "new", unique)
        client.cas("none", "new", cas)


def test_names_types_labels_and_values_are_the_exporters(start):
    start, page = start
    with start() as server:
        use(server)
        with Wire(server.endpoint) as wire:
            # Only then the exporter is told how many items are temporary.
            assert wire.ask(b"lru temp_ttl 60") == b"OK"
            before = exporter.scrape(wire)
            told = told_series(page())
            after = exporter.scrape(wire)
    told = {key: value for key, value in told.items() if key[0].startswith("memcached_")}
    for (name, _), (kind, _) in told.items():
        is_counter = name.endswith("_total") or name in MISNAMED
        assert kind == ("counter" if is_counter else "gauge"), name
    values = {exporters_key(*key): value for key, (_, value) in told.items()}
    of_the_system = {key: values.pop(key) for key in OF_THE_SYSTEM}
    assert all(value > 0 for value in of_the_system.values()), of_the_system
    assert values.keys() == before.keys()
    for key, value in values.items():
        # Reading statistics changes some, and a connection may be closed meanwhile.
        least, most = sorted((before[key], after[key]))
        assert least <= value <= most, key
    assert values["commands_total", "cas", "hit"] == values["commands_total", "cas", "badval"] == 1


def test_an_empty_daemon_tells_the_same_series(start):
    start, page = start
    with start() as server:
        empty = told_series(page())
        use(server)
        used = told_series(page())
    assert empty.keys() == used.keys()


def test_a_crawler_that_is_off_tells_no_settings(start):
    start, page = start
    with start() as server:
        with closing(Client(server.endpoint)) as client:
            assert client.raw_command("lru_crawler disable") == b"OK"
        names = {name for name, _ in told_series(page())}
    assert not {name for name in names if re.search("lru_crawler_(enabled|sleep|.*_percent)", name)}
    assert "memcached_lru_crawler_starts_total" in names


def test_what_is_promised_of_nuthatchs_own_names(start):
    start, page = start
    with start() as server:
        use(server)
        told = told_series(page())
    for (name, labels), (kind, value) in told.items():
        assert value >= 0, name
        if name.startswith("nuthatch_"):
            assert name.endswith("_total") == (kind == "counter"), name
            # What was built has one series, however many labels.
            assert len(labels) <= 3 or name == "nuthatch_build_info", name
    requests = told["memcached_commands_total", frozenset({("command", "get"), ("status", "miss")})]
    assert requests[1] == 50


def test_promtool_complains_of_the_exporters_names_alone(start):
    start, page = start
    with start() as server:
        use(server)
        check = ["promtool", "check", "metrics"]
        told = subprocess.run(check, input=page(), capture_output=True, text=True, timeout=30)
    lines = (told.stdout + told.stderr).splitlines()
    assert {line.split(" ")[0] for line in lines} == MISNAMED
    assert all(line.endswith('counter metrics should have "_total" suffix') for line in lines)


def fill_not(client, _connected):
    client.set("one", "v")


def fill_with_small(client, _connected):
    for start in range(0, 400_000, 1000):
        client.set_many({f"key-{number}": "v" * 100 for number in range(start, start + 1000)})


def fill_with_large(client, _connected):
    for number in range(400):
        client.set(f"key-{number}", os.urandom(300_000))


def fill_and_empty(client, _connected):
    fill_with_small(client, None)
    client.delete_many([f"key-{number}" for number in range(0, 400_000, 2)])


def fill_with_compressible(client, _connected):
    for number in range(20_000):
        client.set(f"key-{number}", f"{number} ".encode() * 1000)


def fill_with_connections(client, connected):
    """Each of them has stored something, and one in ten has sent most of a value."""
    for number in range(CONNECTIONS):
        wire = connected.enter_context(Wire(client.server))
        assert wire.ask(b"set key-%d 0 0 1000\r\n%s" % (number, b"v" * 1000)) == b"STORED"
        if number % 10 == 0:
            wire.socket.sendall(b"set half 0 0 100000\r\n" + b"v" * 99_000)


def fill_with_readers_that_wait(client, connected):
    """Each of them has asked for more than it reads: their buffers stay where they are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < READERS + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (READERS + 100, hard))
    client.set("key", "v" * 10_000)
    for _ in range(READERS):
        reader = connected.enter_context(socket.socket())
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(client.server)
        reader.sendall(b"get key\r\n" * 600)


def fill_while_sizes_change(client, _connected):
    """Twice the memory of each size, of which two thirds expire soon."""
    random.seed(1)
    for low, high in [(50, 200), (1000, 3000), (20_000, 60_000), (100, 400), (5000, 15_000)]:
        for number in range(2 * 128_000_000 // (low + high)):
            value = "v" * random.randrange(low, high)
            client.set(f"{low}-{number}", value, expire=random.choice([0, 1, 2]))


def is_explained(states, resident):
    return sum(states.values()) == pytest.approx(resident, rel=MEMORY_ERROR_MAX, abs=MEMORY_ERROR_BYTES_MAX)


@pytest.mark.parametrize(
    "fill",
    [
        fill_not,
        fill_with_small,
        fill_with_large,
        fill_and_empty,
        fill_with_compressible,
        fill_with_connections,
        fill_with_readers_that_wait,
        fill_while_sizes_change,
    ],
)
def test_memory_by_state_sums_to_what_the_system_says(start, fill):
    start, page = start
    with start("-t", "1", "-c", "2500", "--compress-min", "500") as server, ExitStack() as connected:
        with closing(Client(server.endpoint, default_noreply=True)) as client:
            fill(client, connected)
            client.get("one")  # After all that needs no answer.
            # What workers keep is counted once in a second, and the first page takes memory for itself.
            deadline = time.monotonic() + START_SECONDS_MAX
            while True:
                told = told_series(page())
                status = Path(f"/proc/{server.pid}/status").read_text()
                resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
                states = {
                    dict(labels)["state"]: value
                    for (name, labels), (_, value) in told.items()
                    if name == "nuthatch_memory_bytes"
                }
                if is_explained(states, resident) or time.monotonic() > deadline:
                    break
    assert is_explained(states, resident), (resident, sum(states.values()), states)
