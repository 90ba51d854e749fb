"""meta-memcache, a client that speaks nothing but meta commands: leases, stale values, cas, numbers."""

import pytest
from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    RecachePolicy,
    ServerAddress,
    StalePolicy,
    connection_pool_factory_builder,
)
from meta_memcache.protocol import SetMode

TTL = 100
LEASE = LeasePolicy(ttl=30, miss_retries=2, miss_retry_wait=0.01)


@pytest.fixture
def new_client(server):
    host, port = server.endpoint
    factory = connection_pool_factory_builder()
    return lambda: CacheClient.cache_client_from_servers([ServerAddress(host, port)], factory)


@pytest.fixture
def client(new_client):
    return new_client()


def test_a_value_is_set_read_and_deleted(client):
    assert client.get("k") is None
    assert client.set("k", {"a": [1, "ü"]}, ttl=TTL)
    assert client.get("k") == {"a": [1, "ü"]}
    assert client.delete("k")
    assert client.get("k") is None


@pytest.mark.parametrize("value", [b"", b"\r\nEND\r\n", b"x" * 1_000_000, 5, True, "text"])
def test_values_come_back_as_they_were(client, value):
    assert client.set("k", value, ttl=TTL)
    assert client.get("k") == value


@pytest.mark.parametrize("key", ["ключ", "with space", "a" * 300, "\n"])
def test_keys_that_are_not_text_travel_as_base64(client, key):
    assert client.set(Key(key), "value", ttl=TTL)
    assert client.get(Key(key)) == "value"
    assert client.delete(Key(key))


def test_many_keys_in_one_pipeline(client):
    keys = [Key(f"k{number}") for number in range(500)]
    for key in keys[::2]:
        assert client.set(key, key.key, ttl=TTL, no_reply=True)
    found = client.multi_get(keys)
    assert {key: value for key, value in found.items() if value is not None} == {
        key: key.key for key in keys[::2]
    }


def test_set_modes(client):
    assert not client.set("k", b"a", ttl=TTL, set_mode=SetMode.REPLACE)
    assert client.set("k", b"b", ttl=TTL, set_mode=SetMode.ADD)
    assert not client.set("k", b"c", ttl=TTL, set_mode=SetMode.ADD)
    assert client.set("k", b"d", ttl=TTL, set_mode=SetMode.APPEND)
    assert client.set("k", b"a", ttl=TTL, set_mode=SetMode.PREPEND)
    assert client.get("k") == b"abd"
    assert not client.refill("k", b"late", ttl=TTL)


def test_cas(client):
    assert client.set("k", 1, ttl=TTL)
    value, cas = client.get_cas("k")
    assert value == 1
    assert client.set("k", 2, ttl=TTL, cas_token=cas)
    assert not client.set("k", 3, ttl=TTL, cas_token=cas)
    assert not client.delete("k", cas_token=cas)
    assert client.get("k") == 2


def test_one_client_gets_the_lease_and_the_others_its_value(new_client):
    winner, other = new_client(), new_client()
    assert winner.get_or_lease("k", LEASE) is None

    def fill_meanwhile(_seconds):
        assert winner.set("k", "filled", ttl=TTL)

    assert other.get_or_lease("k", LEASE, lease_wait_fn=fill_meanwhile) == "filled"


def test_one_client_recaches_early(new_client):
    first, second = new_client(), new_client()
    assert first.set("k", "old", ttl=20)
    policy = RecachePolicy(ttl=30)
    assert first.get("k", recache_policy=policy) is None
    assert second.get("k", recache_policy=policy) == "old"
    assert first.set("k", "new", ttl=TTL)
    assert second.get("k", recache_policy=policy) == "new"


def test_an_invalidated_value_is_served_stale_to_all_but_one(new_client):
    first, second = new_client(), new_client()
    policy = StalePolicy(mark_stale_on_deletion_ttl=30)
    assert first.set("k", "old", ttl=TTL)
    assert first.invalidate("k", stale_policy=policy)
    value, cas = first.get_cas("k")
    assert value is None
    assert second.get("k") == "old"
    assert first.set("k", "new", ttl=TTL, cas_token=cas)
    assert second.get("k") == "new"


def test_a_late_write_after_an_invalidation_is_stale(new_client):
    first, second = new_client(), new_client()
    policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
    assert first.set("k", "old", ttl=TTL)
    _, cas = first.get_cas("k")
    assert second.invalidate("k", stale_policy=policy)
    assert first.set("k", "computed before", ttl=TTL, cas_token=cas, stale_policy=policy)
    assert second.get("k") is None
    assert first.get("k") == "computed before"


def test_numbers(client):
    assert not client.delta("n", 1)
    assert client.delta_initialize("n", 5, initial_value=10, initial_ttl=TTL)
    assert client.delta_and_get("n", 5) == 15
    assert client.delta_and_get("n", -20) == 0
    assert client.delta_initialize_and_get("m", 1, initial_value=7, initial_ttl=TTL) == 7


def test_touch(client):
    assert not client.touch("k", ttl=TTL)
    assert client.set("k", "v", ttl=1)
    assert client.touch("k", ttl=TTL)
    assert client.get("k", touch_ttl=TTL) == "v"
