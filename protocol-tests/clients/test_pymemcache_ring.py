"""pymemcache's HashClient, the one that Django uses: keys spread over two servers."""

import pytest
from pymemcache import HashClient, MemcacheServerError
from pymemcache.serde import pickle_serde

from values import TOO_LARGE

VALUES = {f"key-{index}": index for index in range(100)}


@pytest.fixture
def ring(server, second_server):
    servers = [server.endpoint, second_server.endpoint]
    ring = HashClient(servers, serde=pickle_serde, default_noreply=False, use_pooling=True)
    yield ring
    ring.close()


def store_counts(ring):
    return [client.stats()[b"total_items"] for client in ring.clients.values()]


def test_keys_are_spread_over_both_servers_and_found_again(ring):
    before = store_counts(ring)
    assert ring.set_many(VALUES) == []
    assert ring.get_many(VALUES) == VALUES
    added = [after - was for was, after in zip(before, store_counts(ring))]
    assert sum(added) == 100 and min(added) > 10


def test_every_single_key_call_goes_to_the_server_of_its_key(ring):
    for key, value in VALUES.items():
        assert ring.add(key, value)
        assert ring.incr(key, 1) == value + 1
        assert ring.decr(key, 1) == value
        assert ring.touch(key, 100)
        assert ring.cas(key, value + 2, ring.gets(key)[1])
        assert ring.replace(key, value)
        assert ring.get(key) == value
        assert ring.delete(key)
    assert ring.get_many(VALUES) == {}


def test_flush_all_reaches_both_servers(ring):
    ring.set_many(VALUES)
    ring.flush_all()
    assert ring.get_many(VALUES) == {}


def test_an_oversized_value_in_set_many_raises_and_no_connection_loses_step(ring):
    with pytest.raises(MemcacheServerError):
        ring.set_many(VALUES | {"big": TOO_LARGE})
    assert ring.get_many(["big"]) == {}
    assert ring.set_many(VALUES) == []
    assert ring.get_many(VALUES) == VALUES


def test_a_dead_server_is_left_out_and_its_keys_move(server):
    nobody = ("127.0.0.1", 1)
    ring = HashClient(
        [server.endpoint, nobody],
        serde=pickle_serde,
        default_noreply=False,
        retry_attempts=0,
        ignore_exc=True,
    )
    for key, value in VALUES.items():
        ring.set(key, value)
    ring.set_many(VALUES)
    assert ring.get_many(VALUES) == VALUES
    ring.close()
