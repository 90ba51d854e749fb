"""`nuthatch doctor`, at nuthatch and at memcached."""

import json
import re
import socket

from servers import running
from verbs import UNREACHABLE, run
from wire import Item, Wire

CHECKS = ["timing", "connections", "refused", "evictions", "expiry", "clock", "reach", "udp"]
LOCAL_CHECKS = ["open files", "swapped", "swappiness", "huge pages", "backlog", "conntrack", "memory"]


def findings(server, *flags):
    """The level of each check."""
    _, out, _ = run("doctor", "--json", *flags, server=server)
    document = json.loads(out)
    assert document["schema"] == 1
    found = document["servers"][0]["findings"]
    for finding in found:
        # What is to be done is said where something is.
        assert bool(finding["why"] and finding["fix"]) == (finding["level"] != "ok")
    return {finding["check"]: finding["level"] for finding in found}


def test_doctor_finds_what_is_wrong(cache):
    before = findings(cache)
    assert list(before)[: len(CHECKS)] == CHECKS
    assert set(before) <= {*CHECKS, *LOCAL_CHECKS}
    # Those that need nothing but /proc.
    assert {"open files", "swapped", "memory"} <= set(before)
    assert before["reach"] == before["evictions"] == before["expiry"] == "ok"
    with Wire(cache.endpoint) as wire:
        wire.store({b"k%d" % number: Item(b"1") for number in range(100)})
        assert findings(cache)["expiry"] == "warn"
    # It leaves nothing behind.
    assert len(run("keys", server=cache)[1].splitlines()) == 100
    code, out, errors = run("doctor", server=cache)
    assert "warn  expiry      100% of the items never expire\n" in out
    assert re.search(r"^ {18}fix: set a timeout", out, re.MULTILINE)
    red = out.count("RED")
    assert (code, "must be put right" in errors) == ((1, True) if red else (0, False))
    assert "\x1b" not in out


def test_doctor_is_red_about_a_full_server(tmp_path):
    for name in ["nuthatch", "memcached"]:
        with running(name, tmp_path, "-c", "60") as server:
            with Wire(server.endpoint) as wire:
                # memcached keeps some descriptors back.
                reserved = int(wire.stats()["reserved_fds"])
                count = 60 * 9 // 10 - reserved - 2
                clients = [socket.create_connection(server.endpoint) for _ in range(count)]
                code, out, errors = run("doctor", server=server)
            assert "RED   connections " in out
            assert (code, "must be put right" in errors) == (1, True)
            for client in clients:
                client.close()


def test_doctor_needs_a_server():
    code, out, errors = run("doctor", server=UNREACHABLE)
    assert (code, out, errors.startswith("cannot connect")) == (69, "", True)
