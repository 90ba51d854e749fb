"""The Rust client and those of Python and PHP share three weighted daemons: each finds and understands what another wrote."""

import subprocess
from contextlib import ExitStack, closing

import pylibmc
import pymemcache
import pytest
from pymemcache.serde import pickle_serde

from servers import EXCHANGE, ROOT, running

KEYS = [f"key:{index}" for index in range(10_000)]
EXCHANGE_PHP = ROOT / "protocol-tests/clients/exchange.php"


@pytest.fixture(scope="module", params=["nuthatch", "memcached"])
def nodes(request, tmp_path_factory):
    with ExitStack() as stack:
        started = [
            stack.enter_context(running(request.param, tmp_path_factory.mktemp("node")))
            for _ in range(3)
        ]
        yield started


def exchange(command, nodes, lines):
    """Sends lines to a program that is a client, and gives its answers."""
    servers = [f"{node.address}={weight}" for weight, node in enumerate(nodes, 1)]
    text = "".join(f"{line}\n" for line in lines)
    output = subprocess.run(
        [*command, *servers], input=text, capture_output=True, text=True, timeout=120
    )
    assert output.returncode == 0, output.stderr
    answers = output.stdout.splitlines()
    assert len(answers) == len(lines)
    return answers


@pytest.fixture
def rust(nodes):
    return lambda lines, codec="python": exchange([EXCHANGE, "--codec", codec], nodes, lines)


@pytest.fixture
def php(nodes):
    for node in nodes:
        node.flush()
    return lambda lines, compression="default": exchange(
        ["php", EXCHANGE_PHP, compression], nodes, lines
    )


@pytest.fixture
def python(nodes):
    servers = [f"{node.address}:{weight}" for weight, node in enumerate(nodes, 1)]
    client = pylibmc.Client(servers, behaviors={"ketama_weighted": True})
    client.flush_all()
    yield client
    client.disconnect_all()


def test_rust_finds_what_pylibmc_wrote(python, rust):
    assert python.set_multi({key: f"value of {key}" for key in KEYS}) == []
    assert rust([f"get {key}" for key in KEYS]) == [f"text value of {key}" for key in KEYS]


def test_pylibmc_finds_what_rust_wrote(python, rust):
    answers = rust([f"set {key} text value of {key}" for key in KEYS])
    assert answers == ["stored"] * len(KEYS)
    assert python.get_multi(KEYS) == {key: f"value of {key}" for key in KEYS}


def test_rust_finds_what_php_wrote(php, rust):
    stored = php([f"set {key} text value of {key}" for key in KEYS])
    assert stored == ["stored"] * len(KEYS)
    assert rust([f"get {key}" for key in KEYS], "php") == [f"bytes value of {key}" for key in KEYS]


def test_php_finds_what_rust_wrote(php, rust):
    stored = rust([f"set {key} text value of {key}" for key in KEYS], "php")
    assert stored == ["stored"] * len(KEYS)
    assert php([f"get {key}" for key in KEYS]) == [f"bytes value of {key}" for key in KEYS]


def test_values_of_php_keep_their_types_both_ways(php, rust):
    php(["set text text tëxt", "set integer integer -42", "set double double 1.5"])
    php(["set yes boolean true", "set no boolean false", "set list list 1,2"])
    lines = [f"get {key}" for key in ["text", "integer", "double", "yes", "no", "list"]]
    *known, serialized = rust(lines, "php")
    assert known == ["bytes tëxt", "integer -42", "bytes 1.5", "integer 1", "integer 0"]
    assert serialized.startswith("error") and "serialized" in serialized

    rust(["set bytes bytes bytes", "set text text tëxt", "set integer integer 41"], "php")
    answers = php(["get bytes", "get text", "get integer"])
    assert answers == ["bytes bytes", "bytes tëxt", "integer 41"]


# From 2,000 bytes up it stores compressed what gets shorter by a third; from 65,536 up, fastlz has another format.
LONG = {
    "one_less": "z" * 1999,
    "threshold": "z" * 2000,
    "numbers": ",".join(str(number % 50) for number in range(1000)),
    "level_one": "z" * 65_535,
    "level_two": "z" * 65_536,
    # What comes again is further back than the near distances of the format.
    "far": 10 * "".join(f"{number * number % 999_983:x} " for number in range(6000)),
}


class FlagsOnly:
    """Gives the client flags of a value in its place."""

    def deserialize(self, key, value, flags):
        return flags


@pytest.mark.parametrize("compression, packed", [("default", 16 | 64), ("zlib", 16 | 32)])
def test_rust_reads_what_php_compresses(nodes, php, rust, compression, packed):
    gets = [f"get {key}" for key in LONG]
    sets = [f"set {key} text {value}" for key, value in LONG.items()]
    values = [f"bytes {value}" for value in LONG.values()]
    assert php(sets, compression) == ["stored"] * len(LONG)
    flags = {}
    for node in nodes:
        with closing(pymemcache.Client(node.endpoint, serde=FlagsOnly())) as client:
            flags |= client.get_many(LONG)
    assert flags == {key: 0 if key == "one_less" else packed for key in LONG}
    assert rust(gets, "php") == values
    assert rust(sets, "php") == ["stored"] * len(LONG)
    assert php(gets) == values


def test_values_keep_their_types_both_ways(python, rust):
    python.set("bytes", b"\x62ytes")
    python.set("text", "tëxt")
    python.set("integer", 42)
    python.set("list", [1, 2])
    # pylibmc stores compressed what gets shorter.
    python.set("long", "z" * 5000, min_compress_len=1000)
    *known, pickled, long = rust(["get bytes", "get text", "get integer", "get list", "get long"])
    assert known == ["bytes bytes", "text tëxt", "integer 42"]
    assert pickled.startswith("error") and "pickled" in pickled
    assert long == "text " + "z" * 5000

    rust(["set bytes bytes bytes", "set text text tëxt", "set integer integer 41"])
    assert python.get("bytes") == b"bytes"
    assert python.get("text") == "tëxt"
    assert python.incr("integer") == 42
    assert python.get("integer") == 42


def test_pymemcache_and_rust_understand_each_other(nodes, rust):
    with closing(pymemcache.Client(nodes[0].endpoint, serde=pickle_serde)) as client:
        for node in nodes:
            node.flush()
        lines = [f"{kind} {value}" for kind, value in [("bytes", "b"), ("text", "t"), ("integer", "7")]]
        # Keys that belong to the first node are found there.
        keys = [f"k:{index}" for index in range(300)]
        rust([f"set {key} {line}" for key in keys for line in lines[2:]])
        found = client.get_many(keys)
        assert 0 < len(found) < 300 and set(found.values()) == {7}
        key = next(iter(found))
        for value, line in [(b"b", lines[0]), ("t", lines[1]), (7, lines[2])]:
            client.set(key, value, noreply=False)
            assert rust([f"get {key}"]) == [line]
