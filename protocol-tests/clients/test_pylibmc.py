"""pylibmc, the client on top of libmemcached's C code, in its text protocol."""

import time

import pylibmc
import pytest

from values import EVERY_TYPE, LENGTHS, TOO_LARGE, UTF8_AND_LONG_KEYS, value_of


def connect(*servers, **behaviors):
    return pylibmc.Client([server.address for server in servers], behaviors=behaviors)


@pytest.fixture
def client(server):
    return connect(server, cas=True, tcp_nodelay=True)


def test_a_value_is_set_read_and_deleted(client):
    assert client.get("k") is None
    assert client.get("k", "default") == "default"
    assert client.set("k", "v")
    assert client.get("k") == "v"
    assert client.delete("k")
    assert not client.delete("k")
    assert client.get("k") is None


def test_the_mapping_interface_reads_and_writes(client):
    client["k"] = "v"
    assert "k" in client and client["k"] == "v"
    del client["k"]
    assert "k" not in client


def test_add_stores_only_a_missing_key(client):
    assert client.add("k", "first")
    assert not client.add("k", "second")
    assert client.get("k") == "first"


def test_replace_stores_only_an_existing_key(client):
    assert not client.replace("k", "v")
    client.set("k", "old")
    assert client.replace("k", "new")
    assert client.get("k") == "new"


def test_append_and_prepend_extend_an_existing_value(client):
    assert not client.append("k", "x")
    assert not client.prepend("k", "x")
    client.set("k", "middle")
    assert client.append("k", "-end")
    assert client.prepend("k", "start-")
    assert client.get("k") == "start-middle-end"


def test_cas_stores_unless_somebody_else_did(client):
    assert client.gets("k") == (None, None)
    with pytest.raises(pylibmc.NotFound):
        client.cas("k", "v", 1)
    client.set("k", "old")
    value, unique = client.gets("k")
    assert value == "old"
    assert client.cas("k", "new", unique)
    assert not client.cas("k", "late", unique)
    assert client.get("k") == "new"


def test_incr_and_decr_count_and_stop_at_zero(client):
    client.set("k", 10)
    assert client.incr("k") == 11
    assert client.incr("k", 5) == 16
    assert client.decr("k") == 15
    assert client.decr("k", 100) == 0
    assert client.get("k") == 0


def test_incr_and_decr_of_a_missing_key_are_not_found(client):
    with pytest.raises(pylibmc.NotFound):
        client.incr("k")
    with pytest.raises(pylibmc.NotFound):
        client.decr("k")


def test_incr_of_words_is_the_clients_error(client):
    client.set("k", "words")
    with pytest.raises(pylibmc.ClientError):
        client.incr("k")
    assert client.get("k") == "words"


def test_many_keys_are_set_read_counted_and_deleted_in_one_call(client):
    values = {f"k{index}": index for index in range(500)}
    assert client.set_multi(values, key_prefix="p:") == []
    assert client.get_multi([*values, "missing"], key_prefix="p:") == values
    client.incr_multi(["k1", "k2"], key_prefix="p:", delta=10)
    assert client.get_multi(["p:k1", "p:k2"]) == {"p:k1": 11, "p:k2": 12}
    assert client.delete_multi(list(values), key_prefix="p:")
    assert client.get_multi(list(values), key_prefix="p:") == {}


def test_many_calls_report_the_keys_that_failed(client):
    client.set("old", 1)
    assert client.add_multi({"old": 2, "new": 2}) == ["old"]
    assert not client.delete_multi(["old", "missing"])
    with pytest.raises(pylibmc.NotFound):
        client.incr_multi(["new", "missing"])


def test_noreply_is_silent(server, client):
    silent = connect(server, _noreply=True)
    silent.set("k", "v")
    silent.append("k", "w")
    silent.add("k", "refused")
    silent.delete("missing")
    assert silent.get("k") == "vw"
    assert client.get("k") == "vw"


@pytest.mark.parametrize("behavior", ["no_block", "ketama", "ketama_weighted", "remove_failed"])
def test_the_behaviors_that_sites_configure_change_no_answer(server, behavior):
    client = connect(server, **{behavior: True})
    assert client.set("k", 1)
    assert client.incr("k") == 2
    assert client.get_multi(["k", "missing"]) == {"k": 2}


def test_flush_all_drops_what_was_stored_and_nothing_later(client):
    client.set("old", "v")
    assert client.flush_all()
    client.set("new", "v")
    assert client.get_multi(["old", "new"]) == {"new": "v"}


def test_stats_name_the_server_and_count(server, client):
    def stats():
        [(name, numbers)] = client.get_stats()
        assert name.decode().startswith(server.address)
        return numbers

    before = int(stats()["get_misses"])
    client.get("missing")
    assert int(stats()["get_misses"]) == before + 1


def test_a_client_connects_again_after_disconnect_all(client):
    client.set("k", "v")
    client.disconnect_all()
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
    with pytest.raises(pylibmc.TooBig):
        client.set("k", TOO_LARGE)
    assert client.get("k") is None
    assert client.set("k", "new")
    assert client.get("k") == "new"


def test_keys_may_be_utf8_and_250_bytes_long(client):
    for key in UTF8_AND_LONG_KEYS:
        client.set(key, key)
        assert client.get(key) == key
        assert client.get_multi([key]) == {key: key}


@pytest.mark.parametrize("expire", [0, 100, 2592000])
def test_an_exptime_of_up_to_thirty_days_lives(client, expire):
    client.set("k", "v", expire)
    client.set("touched", "v")
    assert client.touch("touched", expire)
    assert client.get_multi(["k", "touched"]) == {"k": "v", "touched": "v"}


@pytest.mark.parametrize("expire", [-1, -5, 4294967295, 4294967291, 2592001, 3000000000])
def test_a_negative_wrapped_or_past_exptime_expires_at_once(client, expire):
    client.set("k", "v", expire)
    assert client.get("k") is None
    assert client.add("k", "again")


def test_an_absolute_exptime_lives_until_then(client):
    client.set("past", "v", int(time.time()) - 1)
    client.set("future", "v", int(time.time()) + 2592001)
    assert client.get_multi(["past", "future"]) == {"future": "v"}


def test_touch_of_a_missing_key_is_false(client):
    assert not client.touch("k", 10)


def test_what_was_given_two_seconds_expires_and_the_rest_stays(client, soon):
    client.set("k", "v", 2)
    client.set("kept", "v", 2)
    client.touch("kept", 0)
    assert len(client.get_multi(["k", "kept"])) == 2
    assert soon(lambda: client.get_multi(["k", "kept"]) == {"kept": "v"})


def test_clients_of_a_pool_see_one_cache(client):
    pool = pylibmc.ClientPool(client, 2)
    with pool.reserve() as writer, pool.reserve() as reader:
        writer.set("k", "v")
        assert reader.get("k") == "v"


@pytest.mark.parametrize("behaviors", [{}, {"ketama": True}, {"hash": "crc"}], ids=str)
def test_keys_are_spread_over_two_servers_and_found_again(server, second_server, behaviors):
    ring = connect(server, second_server, **behaviors)
    values = {f"key-{index}": index for index in range(100)}
    assert ring.set_multi(values) == []
    assert ring.get_multi(list(values)) == values
    shares = [len(connect(one).get_multi(list(values))) for one in (server, second_server)]
    assert sum(shares) == 100 and min(shares) > 10
