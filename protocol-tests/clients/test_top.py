"""`nuthatch top`, on a terminal and as lines of JSON, at nuthatch and at memcached."""

import json

from verbs import UNREACHABLE, at_terminal, documents, run, version

TOP_NAMES = {
    "server",
    "version",
    "uptime_seconds",
    "requests_per_second",
    "gets_per_second",
    "sets_per_second",
    "evictions_per_second",
    "hit_ratio",
    "items",
    "bytes",
    "limit_bytes",
    "connections",
    "is_draining",
    "latency",
    "namespaces",
    "hot",
}


def test_top_prints_lines_where_there_is_no_terminal(cache):
    first, second = documents("top", "--interval", "100ms", "--count", "2", server=cache)
    for document in [first, second]:
        [told] = document["servers"]
        assert set(told) == TOP_NAMES
        assert (told["server"], told["version"]) == (cache.address, version(cache))
    assert first["servers"][0]["gets_per_second"] is None
    assert second["servers"][0]["gets_per_second"] == 0
    has_latency = "get" in second["servers"][0]["latency"]
    assert has_latency == (cache.name == "nuthatch")


def test_top_goes_on_without_a_server(cache):
    top = ["top", "--json", "--interval", "100ms", "--count", "2"]
    code, out, errors = run(*top, server=f"{cache.address},{UNREACHABLE}")
    assert (code, errors.startswith(f"cannot connect to {UNREACHABLE}")) == (69, True)
    for line in out.splitlines():
        there, gone = json.loads(line)["servers"]
        assert there["limit_bytes"] == 64 << 20
        assert set(gone) == {"server", "error"}


def test_top_shows_servers_on_a_terminal(caches):
    addresses = [server.address for server in caches.values()]
    top = ["top", "--interval", "100ms", "--server", ",".join(addresses)]
    code, said = at_terminal(top, "q", enough="memory")
    assert code == 0
    for word in ["nuthatch top: 2 servers", "requests/s", "rate", *addresses]:
        assert word in said
    # The terminal is as it was.
    assert said.endswith("\x1b[?1049l\x1b[?25h")
    assert at_terminal([*top, "--count", "3"])[0] == 0
    assert at_terminal(top, "\x03", enough="memory")[0] == 0
