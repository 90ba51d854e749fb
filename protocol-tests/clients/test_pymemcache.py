"""pymemcache, the pure Python client: every call it has, and the answers it relies on."""

import time
from contextlib import closing

import pytest
from pymemcache import (
    Client,
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnknownCommandError,
    PooledClient,
)
from pymemcache.serde import CompressedSerde, pickle_serde

from values import EVERY_TYPE, LENGTHS, MEBIBYTE, TOO_LARGE, UTF8_AND_LONG_KEYS, value_of

FOREVER, EXPIRED = "forever", "expired"


@pytest.fixture
def client(server):
    with closing(Client(server.endpoint, default_noreply=False, timeout=60)) as client:
        yield client


@pytest.fixture
def typed(server):
    with closing(Client(server.endpoint, default_noreply=False, serde=pickle_serde)) as client:
        yield client


def test_a_value_is_set_read_and_deleted(client):
    assert client.get("k") is None
    assert client.get("k", "default") == "default"
    assert client.set("k", "v")
    assert client.get("k") == b"v"
    assert client.delete("k")
    assert not client.delete("k")
    assert client.get("k") is None


def test_the_mapping_interface_reads_and_writes(client):
    client["k"] = "v"
    assert client["k"] == b"v"
    del client["k"]
    with pytest.raises(KeyError):
        client["k"]


def test_add_stores_only_a_missing_key(client):
    assert client.add("k", "first")
    assert not client.add("k", "second")
    assert client.get("k") == b"first"


def test_replace_stores_only_an_existing_key(client):
    assert not client.replace("k", "v")
    client.set("k", "old")
    assert client.replace("k", "new")
    assert client.get("k") == b"new"


def test_append_and_prepend_extend_an_existing_value_and_keep_its_flags(client):
    assert not client.append("k", "x")
    assert not client.prepend("k", "x")
    client.set("k", "middle", flags=16)
    assert client.append("k", "-end", flags=1)
    assert client.prepend("k", "start-", flags=1)
    assert client.raw_command("get k", "END\r\n") == b"VALUE k 16 16\r\nstart-middle-end\r\n"


def test_cas_stores_unless_somebody_else_did(client):
    assert client.gets("k") == (None, None)
    assert client.cas("k", "v", "1") is None
    client.set("k", "old")
    value, unique = client.gets("k")
    assert value == b"old"
    assert client.cas("k", "new", unique) is True
    assert client.cas("k", "late", unique) is False
    assert client.get("k") == b"new"


def test_every_change_gives_a_new_cas_unique_and_reads_give_none(client):
    client.set("k", "1")
    uniques = [client.gets("k")[1]]
    for change in (
        lambda: client.set("k", "1"),
        lambda: client.incr("k", 1),
        lambda: client.append("k", "0"),
    ):
        change()
        uniques.append(client.gets("k")[1])
    assert len(set(uniques)) == 4
    client.touch("k", 100)
    client.get("k")
    assert client.gets("k")[1] == uniques[-1]


def test_incr_and_decr_count_in_64_bits(client):
    client.set("k", "10")
    assert client.incr("k", 5) == 15
    assert client.decr("k", 6) == 9
    assert client.decr("k", 100) == 0
    client.set("k", str(2**64 - 1))
    assert client.incr("k", 1) == 0


def test_incr_and_decr_of_a_missing_key_are_none(client):
    assert client.incr("k", 1) is None
    assert client.decr("k", 1) is None


def test_incr_of_words_or_by_words_is_the_clients_error(client):
    client.set("k", "words")
    with pytest.raises(MemcacheClientError, match="non-numeric value"):
        client.incr("k", 1)
    with pytest.raises(MemcacheClientError, match="invalid numeric delta"):
        client.incr("k", -1)
    assert client.get("k") == b"words"


def test_many_keys_are_set_read_and_deleted_in_one_call(client):
    values = {f"k{index}": f"v{index}".encode() for index in range(500)}
    assert client.set_many(values) == []
    assert client.get_many([*values, "missing"]) == values
    assert client.gets_many(["k1", "missing"])["k1"][0] == b"v1"
    assert client.delete_many([*values, "missing"])
    assert client.get_many(values) == {}


def test_a_multiget_line_of_many_long_keys_is_answered(client):
    values = {f"{index:0250}": b"v" for index in range(1000)}
    client.set_many(values)
    assert client.get_many(values) == values


def test_noreply_is_silent_for_every_command_that_takes_it(client):
    client.set("gone", "x", noreply=True)
    client.delete("gone", noreply=True)
    client.set("k", "5", noreply=True)
    client.add("k", "refused", noreply=True)
    client.replace("missing", "refused", noreply=True)
    client.cas("k", "refused", "1", noreply=True)
    client.incr("k", 10, noreply=True)
    client.decr("k", 3, noreply=True)
    client.append("k", "0", noreply=True)
    client.prepend("k", "1", noreply=True)
    client.touch("k", 100, noreply=True)
    client.set_many({"a": "1", "b": "2"}, noreply=True)
    client.delete_many(["a", "missing"], noreply=True)
    assert client.get_many(["gone", "k", "missing", "a", "b"]) == {"k": b"1120", "b": b"2"}
    client.flush_all(noreply=True)
    assert client.get("k") is None


def test_flush_all_drops_what_was_stored_and_nothing_later(client):
    client.set("old", "v")
    assert client.flush_all()
    client.set("new", "v")
    assert client.get_many(["old", "new"]) == {"new": b"v"}


def test_a_delayed_flush_leaves_values_until_then_and_a_new_flush_replaces_it(client):
    client.set("k", "v")
    assert client.flush_all(delay=100)
    assert client.get("k") == b"v"
    assert client.flush_all()
    assert client.get("k") is None


def test_stats_count_what_was_done(client):
    before = client.stats()
    client.set("k", "v")
    client.get("k")
    client.get("missing")
    after = client.stats()
    for name in (b"cmd_set", b"get_hits", b"get_misses", b"total_items"):
        assert after[name] - before[name] == 1, name
    assert after[b"cmd_get"] - before[b"cmd_get"] == 2


def test_the_server_tells_its_version(client):
    assert client.version()[:1].isdigit()


def test_an_unknown_command_is_refused_and_the_connection_stays(client):
    with pytest.raises(MemcacheUnknownCommandError):
        client.raw_command("nonsense")
    assert client.set("k", "v")


def test_shutdown_is_refused_unless_the_server_was_started_with_it(client):
    # memcached 1.6.18 answers `ERROR: shutdown not enabled`, 1.6.45 `SERVER_ERROR: ...`.
    with pytest.raises((MemcacheUnknownCommandError, MemcacheServerError), match="shutdown"):
        client.shutdown()
    assert client.set("k", "v")


def test_quit_ends_the_connection_and_the_next_call_opens_another(client):
    client.set("k", "v")
    client.quit()
    assert client.get("k") == b"v"


def test_the_memory_limit_can_be_set_while_running(client):
    assert client.cache_memlimit(65)
    assert client.stats()[b"limit_maxbytes"] == 65 * MEBIBYTE
    assert client.cache_memlimit(64)
    assert client.stats()[b"limit_maxbytes"] == 64 * MEBIBYTE


def test_gat_and_gats_read_and_touch(client):
    assert client.raw_command("gat 100 k", "END\r\n") == b""
    client.set("k", "v")
    assert client.raw_command("gat 100 k", "END\r\n") == b"VALUE k 0 1\r\nv\r\n"
    unique = client.gets("k")[1].decode()
    expected = f"VALUE k 0 1 {unique}\r\nv\r\n".encode()
    assert client.raw_command("gats 100 k", "END\r\n") == expected
    client.raw_command("gat -1 k", "END\r\n")
    assert client.get("k") is None


def test_touch_of_a_missing_key_is_false(client):
    assert not client.touch("k", 10)


@pytest.mark.parametrize("value", EVERY_TYPE)
def test_a_python_value_comes_back_as_what_it_was(typed, value):
    typed.set("k", value)
    assert typed.get("k", "missing") == value


def test_a_compressed_value_comes_back_whole(server):
    with closing(Client(server.endpoint, serde=CompressedSerde())) as client:
        client.set("k", "long " * 1000, noreply=False)
        assert client.get("k") == "long " * 1000
        assert client.raw_command("get k", "END\r\n").startswith(b"VALUE k 24 ")


@pytest.mark.parametrize("flags", [0, 1, 65535, 2**31, 2**32 - 1])
def test_client_flags_are_kept_as_32_bits(client, flags):
    client.set("k", "v", flags=flags)
    assert client.raw_command("get k", "END\r\n") == f"VALUE k {flags} 1\r\nv\r\n".encode()


@pytest.mark.parametrize("length", LENGTHS)
def test_values_up_to_the_item_limit_come_back_whole(client, length):
    client.set("k", value_of(length))
    assert client.get("k") == value_of(length)


def test_a_value_over_the_item_limit_is_refused_and_the_old_one_is_gone(client):
    client.set("k", "old")
    with pytest.raises(MemcacheServerError, match="object too large for cache"):
        client.set("k", TOO_LARGE)
    assert client.get("k") is None
    assert client.set("k", "new")
    assert client.get("k") == b"new"


def test_an_oversized_value_among_many_fails_alone(client):
    with pytest.raises(MemcacheServerError):
        client.set_many({"a": "1", "big": b"x" * MEBIBYTE, "b": "2"})
    # The client hangs up at the error: what came after it may be read or lost.
    assert client.get_many(["a", "big"]) == {"a": b"1"}


def test_keys_may_be_utf8_and_250_bytes_long(server):
    with closing(Client(server.endpoint, allow_unicode_keys=True)) as client:
        for key in UTF8_AND_LONG_KEYS:
            client.set(key, key.encode(), noreply=False)
            assert client.get(key).decode() == key


@pytest.mark.parametrize(
    ("expire", "outcome"),
    [
        (0, FOREVER),
        (100, FOREVER),
        (2592000, FOREVER),
        (2592001, EXPIRED),  # absolute: a day in January 1970
        (-1, EXPIRED),
        (-5, EXPIRED),
        (4294967295, EXPIRED),  # -1 as pylibmc writes it
        (4294967291, EXPIRED),
        (4795227563, EXPIRED),  # wraps to a time in 1985
    ],
)
def test_exptime_is_read_as_memcached_reads_it(client, expire, outcome):
    client.set("set", "v", expire=expire)
    client.add("add", "v", expire=expire)
    client.set("touch", "v")
    assert client.touch("touch", expire)
    left = client.get_many(["set", "add", "touch"])
    assert set(left) == ({"set", "add", "touch"} if outcome == FOREVER else set())


def test_an_absolute_exptime_lives_until_then(client):
    client.set("past", "v", expire=int(time.time()) - 1)
    client.set("future", "v", expire=int(time.time()) + 2592001)
    assert client.get_many(["past", "future"]) == {"future": b"v"}


def test_what_was_given_two_seconds_expires_and_the_rest_stays(client, soon):
    client.set("k", "v", expire=2)
    client.set("kept", "v", expire=2)
    client.touch("kept", 0)
    client.set("touched", "v")
    client.touch("touched", 2)
    assert len(client.get_many(["k", "kept", "touched"])) == 3
    assert soon(lambda: client.get_many(["k", "kept", "touched"]) == {"kept": b"v"})
    assert client.add("k", "again")


def test_a_pool_of_connections_serves_the_same_calls(server):
    pool = PooledClient(server.endpoint, max_pool_size=4, default_noreply=False)
    assert pool.set("k", "1")
    assert pool.incr("k", 1) == 2
    assert pool.get_many(["k"]) == {"k": b"2"}
    pool.close()
