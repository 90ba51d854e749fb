"""What sites have built on memcached for fifteen years, each pattern with the sentence it lives by.

A pattern is written once, in the calls that pymemcache and pylibmc have in common, and runs on both.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pylibmc
import pymemcache
import pytest
from pymemcache.serde import pickle_serde

THREADS = 12


def connect_pymemcache(server):
    return pymemcache.Client(server.endpoint, serde=pickle_serde, default_noreply=False)


def connect_pylibmc(server):
    return pylibmc.Client([server.address], behaviors={"cas": True})


@pytest.fixture(params=[connect_pymemcache, connect_pylibmc], ids=["pymemcache", "pylibmc"])
def connect(request, server):
    """Opens one more connection to the server, as another process or thread would."""
    return lambda: request.param(server)


@pytest.fixture
def cache(connect):
    return connect()


def at_once(connect, action):
    """What `action(cache)` returned in each of many threads that started together."""
    barrier = threading.Barrier(THREADS)

    def run(_):
        cache = connect()
        cache.get("warm")
        barrier.wait()
        return action(cache)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


def incr(cache, key):
    """The new number, or None for a missing key, which pylibmc tells by an exception."""
    try:
        return cache.incr(key, 1)
    except pylibmc.NotFound:
        return None


def gets(cache, key):
    """The value and its cas unique.

    The key goes as bytes: pylibmc 1.6.3 frees the bytes that it makes of a str before it sends
    them (its pull request 303), and with threads another key may then be asked for.
    """
    return cache.gets(key.encode())


# Counting the hard way: incr does not create, so whoever misses adds a zero and counts again.


def count(cache, key, expire=0):
    number = incr(cache, key)
    if number is None:
        cache.add(key, 0, expire)
        number = incr(cache, key)
    return number


def test_counters_created_by_many_at_once_lose_no_count(connect):
    numbers = at_once(connect, lambda cache: [count(cache, "visits") for _ in range(50)])
    assert sorted(sum(numbers, [])) == list(range(1, THREADS * 50 + 1))


def test_a_rate_limit_is_a_counter_that_expires_with_its_window(connect):
    answers = at_once(connect, lambda cache: count(cache, "rate:10.0.0.1:12h05", 60) <= 5)
    assert answers.count(True) == 5


# add as a lock: it succeeds for exactly one; the expiry frees it if that one dies.


def release(cache, lock, token):
    """Expires the lock by cas, so that a lock that somebody else took meanwhile stays theirs."""
    holder, unique = gets(cache, lock)
    return holder == token and bool(cache.cas(lock, token, unique, -1))


def test_a_lock_is_won_by_one_of_many(connect):
    wins = at_once(connect, lambda cache: bool(cache.add("lock", "me", 30)))
    assert wins.count(True) == 1


def test_a_released_lock_is_won_again(cache, connect):
    other = connect()
    assert cache.add("lock", "first", 30)
    assert not other.add("lock", "second", 30)
    assert release(cache, "lock", "first")
    assert other.add("lock", "second", 30)


def test_a_lock_expires_by_itself_and_its_late_holder_cannot_release_the_next(cache, connect, soon):
    other = connect()
    assert cache.add("lock", "first", 2)
    assert not other.add("lock", "second", 30)
    assert soon(lambda: other.add("lock", "second", 30))
    assert not release(cache, "lock", "first")
    assert other.get("lock") == "second"


# A soft expiry inside the value (MintCache): past it one caller refreshes, the others get the stale value.

FRESH_SECONDS = 60


def mint_get(cache, key, now, recompute):
    envelope = cache.get(key)
    if envelope is not None:
        value, fresh_until = envelope
        if now < fresh_until or not cache.add(key + ":refreshing", 1, 30):
            return value
    value = recompute()
    cache.set(key, (value, now + FRESH_SECONDS), 10 * FRESH_SECONDS)
    cache.delete(key + ":refreshing")
    return value


def test_past_the_soft_expiry_one_refreshes_and_the_others_get_the_stale_value(cache, connect):
    def never():
        raise AssertionError("this caller must not compute")

    def refresh_while_others_read():
        seen = at_once(connect, lambda other: mint_get(other, "page", now=100, recompute=never))
        assert seen == ["old"] * THREADS
        return "new"

    assert mint_get(cache, "page", now=0, recompute=lambda: "old") == "old"
    assert mint_get(cache, "page", now=59, recompute=never) == "old"
    assert mint_get(cache, "page", now=100, recompute=refresh_while_others_read) == "new"
    assert mint_get(cache, "page", now=101, recompute=never) == "new"


# A tombstone: invalidation stores a short-lived marker, and loaders only add, so that what was read
# before the change cannot be written back after it.

TOMBSTONE = "\0tombstone"


def load(cache, key, read):
    value = cache.get(key)
    if value is None or value == TOMBSTONE:
        value = read()
        cache.add(key, value, 60)
    return value


def test_a_slow_loader_cannot_write_back_what_was_invalidated(cache, connect, soon):
    writer = connect()

    def read_slowly():
        stale = "before the change"
        writer.set("article", TOMBSTONE, 2)
        return stale

    load(cache, "article", read_slowly)
    assert cache.get("article") == TOMBSTONE
    assert load(cache, "article", lambda: "after the change") == "after the change"
    assert cache.get("article") == TOMBSTONE
    assert soon(lambda: cache.get("article") is None)
    load(cache, "article", lambda: "after the change")
    assert cache.get("article") == "after the change"


# A list holds ids only; the objects are fetched by one multiget and the misses filled in.


def articles(cache, read_ids, read_articles):
    ids = cache.get("front-page")
    if ids is None:
        ids = read_ids()
        cache.set("front-page", ids, 60)
    keys = [f"article:{article_id}" for article_id in ids]
    found = cache.get_multi(keys)
    missing = [key for key in keys if key not in found]
    if missing:
        read = read_articles(missing)
        cache.set_multi(read, 60)
        found |= read
    return [found[key] for key in keys]


def test_a_list_of_ids_reads_only_the_objects_that_are_missing(cache):
    asked = []

    def read_articles(keys):
        asked.append(keys)
        return {key: {"title": f"Title of {key}"} for key in keys}

    def titles():
        page = articles(cache, lambda: [30, 10, 20], read_articles)
        return [article["title"] for article in page]

    assert titles() == ["Title of article:30", "Title of article:10", "Title of article:20"]
    cache.set("article:10", {"title": "Edited"}, 60)
    cache.delete("article:20")
    assert titles() == ["Title of article:30", "Edited", "Title of article:20"]
    assert titles() == ["Title of article:30", "Edited", "Title of article:20"]
    assert asked == [["article:30", "article:10", "article:20"], ["article:20"]]


# A flag that lives for seconds: nobody has to remember to take it back.


def test_a_feature_that_was_switched_off_comes_back_by_itself(cache, connect, soon):
    other = connect()
    cache.set("off:search", 1, 2)
    assert other.get("off:search")
    assert soon(lambda: other.get("off:search") is None)


def test_what_was_recently_checked_is_not_checked_again(connect):
    checks = at_once(connect, lambda cache: bool(cache.add("checked:backend-7", 1, 5)))
    assert checks.count(True) == 1


# A stampede: the value is gone, everyone arrives, one computes and the others wait for it.


def get_or_compute(cache, key, compute, soon):
    value = cache.get(key)
    if value is None and cache.add(key + ":computing", 1, 30):
        value = compute()
        cache.set(key, value, 60)
    elif value is None:
        assert soon(lambda: cache.get(key) is not None)
        value = cache.get(key)
    return value


def test_a_stampede_computes_exactly_once(connect, soon):
    computed = []

    def compute():
        computed.append(threading.get_ident())
        time.sleep(0.1)
        return "costly"

    values = at_once(connect, lambda cache: get_or_compute(cache, "report", compute, soon))
    assert values == ["costly"] * THREADS
    assert len(computed) == 1


# A namespace: its generation is part of every key, so one incr invalidates them all.


def in_namespace(cache, key):
    cache.add("generation:shop", 1)
    return f"shop:{cache.get('generation:shop')}:{key}"


def test_one_incr_invalidates_a_whole_namespace(cache):
    for key in ("a", "b"):
        cache.set(in_namespace(cache, key), "v")
        assert cache.get(in_namespace(cache, key)) == "v"
    cache.incr("generation:shop", 1)
    assert cache.get(in_namespace(cache, "a")) is None
    assert cache.get(in_namespace(cache, "b")) is None


# Compare and swap in a loop: everyone's change to a shared value survives.


def append_by_cas(cache, key, item):
    while True:
        items, unique = gets(cache, key)
        if cache.cas(key, [*items, item], unique):
            return


def test_changes_by_cas_from_many_at_once_all_survive(cache, connect):
    cache.set("basket", [])
    at_once(connect, lambda other: append_by_cas(other, "basket", threading.get_ident()))
    assert len(set(cache.get("basket"))) == THREADS
