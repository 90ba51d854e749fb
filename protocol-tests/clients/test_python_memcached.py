"""python-memcached, the oldest of the three clients and still found in legacy sites."""

import memcache
import pytest

from values import EVERY_TYPE, LENGTHS, MEBIBYTE, TOO_LARGE, UTF8_AND_LONG_KEYS, value_of


def connect(*servers):
    """A client that leaves the limit on values to the server."""
    addresses = [server.address for server in servers]
    return memcache.Client(addresses, cache_cas=True, server_max_value_length=0)


@pytest.fixture
def client(server):
    client = connect(server)
    yield client
    client.disconnect_all()


def test_a_value_is_set_read_and_deleted(client):
    assert client.get("k") is None
    assert client.get("k", "default") == "default"
    assert client.set("k", "v")
    assert client.get("k") == "v"
    assert client.delete("k")
    assert not client.delete("k")
    assert client.get("k") is None


def test_add_stores_only_a_missing_key_and_replace_only_an_existing_one(client):
    assert not client.replace("k", "v")
    assert client.add("k", "first")
    assert not client.add("k", "second")
    assert client.replace("k", "third")
    assert client.get("k") == "third"


def test_append_and_prepend_extend_an_existing_value(client):
    assert not client.append("k", "x")
    assert not client.prepend("k", "x")
    client.set("k", "middle")
    assert client.append("k", "-end")
    assert client.prepend("k", "start-")
    assert client.get("k") == "start-middle-end"


def test_cas_stores_unless_somebody_else_did(server, client):
    client.set("k", "old")
    assert client.gets("k") == "old"
    assert client.cas("k", "new")
    client.gets("k")
    connect(server).set("k", "somebody else's")
    assert not client.cas("k", "late")
    assert client.get("k") == "somebody else's"


def test_incr_and_decr_count_and_are_none_for_a_missing_key(client):
    assert client.incr("k") is None
    assert client.decr("k") is None
    client.set("k", 10)
    assert client.incr("k", 5) == 15
    assert client.decr("k") == 14
    assert client.decr("k", 100) == 0


def test_incr_of_words_is_answered_with_an_error_line(client):
    client.set("k", "words")
    with pytest.raises(ValueError, match="CLIENT_ERROR cannot increment"):
        client.incr("k")
    assert client.get("k") == "words"


def test_many_keys_are_set_read_and_deleted_in_one_call(client):
    values = {index: f"value {index}" for index in range(500)}
    assert client.set_multi(values, key_prefix="p:") == []
    assert client.get_multi([*values, "missing"], key_prefix="p:") == values
    assert client.delete_multi(values, key_prefix="p:")
    assert client.get_multi(values, key_prefix="p:") == {}


def test_noreply_is_silent_for_every_command_that_takes_it(client):
    client.set("k", "5", noreply=True)
    client.add("k", "refused", noreply=True)
    client.replace("missing", "refused", noreply=True)
    client.incr("k", 10, noreply=True)
    client.decr("k", 3, noreply=True)
    client.append("k", "0", noreply=True)
    client.prepend("k", "1", noreply=True)
    client.touch("k", 100, noreply=True)
    client.set_multi({"a": 1, "b": 2}, noreply=True)
    client.delete("a", noreply=True)
    assert client.get("k") == "1120"
    assert client.get_multi(["missing", "a", "b"]) == {"b": 2}


def test_flush_all_drops_what_was_stored_and_nothing_later(client):
    client.set("old", "v")
    client.flush_all()
    client.set("new", "v")
    assert client.get_multi(["old", "new"]) == {"new": "v"}


def test_stats_name_the_server_and_count(server, client):
    def stats():
        [(name, numbers)] = client.get_stats()
        assert name == f"{server.address} (1)"
        return numbers

    before = int(stats()["cmd_set"])
    client.set("k", "v")
    assert int(stats()["cmd_set"]) == before + 1


def test_quit_ends_the_connection_and_the_next_call_opens_another(client):
    client.set("k", "v")
    client.quit_all()
    assert client.get("k") == "v"


@pytest.mark.parametrize("value", EVERY_TYPE)
def test_a_python_value_comes_back_as_what_it_was(client, value):
    client.set("k", value)
    assert client.get("k", "missing") == value


def test_a_compressed_value_comes_back_whole(client):
    client.set("k", "long " * 1000, min_compress_len=100)
    assert client.get("k") == "long " * 1000


@pytest.mark.parametrize("length", LENGTHS)
def test_values_up_to_the_item_limit_come_back_whole(client, length):
    client.set("k", value_of(length))
    assert client.get("k") == value_of(length)


def test_a_value_over_the_item_limit_is_refused_and_the_old_one_is_gone(client):
    client.set("k", "old")
    assert not client.set("k", TOO_LARGE)
    assert client.get("k") is None
    assert client.set_multi({"a": 1, "k": b"x" * MEBIBYTE, "b": 2}) == ["k"]
    assert client.get_multi(["a", "k", "b"]) == {"a": 1, "b": 2}


def test_keys_may_be_utf8_and_250_bytes_long(client):
    for key in UTF8_AND_LONG_KEYS:
        client.set(key, key)
        assert client.get(key) == key


@pytest.mark.parametrize("expire", [0, 100, 2592000])
def test_an_exptime_of_up_to_thirty_days_lives(client, expire):
    client.set("k", "v", expire)
    client.set("touched", "v")
    assert client.touch("touched", expire)
    assert client.get_multi(["k", "touched"]) == {"k": "v", "touched": "v"}


@pytest.mark.parametrize("expire", [-1, 4294967295, 2592001])
def test_a_negative_wrapped_or_past_exptime_expires_at_once(client, expire):
    client.set("k", "v", expire)
    client.set("touched", "v")
    assert client.touch("touched", expire)
    assert client.get_multi(["k", "touched"]) == {}
    assert not client.touch("touched", 100)


def test_keys_are_spread_over_two_servers_and_found_again(server, second_server):
    ring = connect(server, second_server)
    values = {f"key-{index}": index for index in range(100)}
    assert ring.set_multi(values) == []
    assert ring.get_multi(values) == values
    shares = [len(connect(one).get_multi(values)) for one in (server, second_server)]
    assert sum(shares) == 100 and min(shares) > 10
    ring.disconnect_all()
