"""Django's low-level cache API, as its documentation describes it."""

import time

from django.core.cache import cache, caches
from django.core.cache.backends.base import InvalidCacheKey
from django.test import SimpleTestCase
from pylibmc import TooBig
from pymemcache import MemcacheServerError

MEBIBYTE = 1024 * 1024
THIRTY_DAYS = 30 * 24 * 60 * 60


class CacheTest(SimpleTestCase):
    def setUp(self):
        cache.clear()


class ValuesTest(CacheTest):
    def test_set_get_and_delete(self):
        self.assertIsNone(cache.get("k"))
        self.assertEqual(cache.get("k", "default"), "default")
        cache.set("k", "v")
        self.assertEqual(cache.get("k"), "v")
        self.assertIs(cache.delete("k"), True)
        self.assertIs(cache.delete("k"), False)
        self.assertIsNone(cache.get("k"))

    def test_add_stores_only_a_missing_key(self):
        self.assertIs(cache.add("k", "first"), True)
        self.assertIs(cache.add("k", "second"), False)
        self.assertEqual(cache.get("k"), "first")

    def test_has_key_also_of_a_stored_none(self):
        self.assertIs(cache.has_key("k"), False)
        cache.set("k", None)
        self.assertIs(cache.has_key("k"), True)
        self.assertIn("k", cache)
        self.assertIsNone(cache.get("k", "default"))

    def test_get_or_set_computes_once(self):
        self.assertEqual(cache.get_or_set("k", lambda: "computed"), "computed")
        self.assertEqual(cache.get_or_set("k", "ignored"), "computed")
        self.assertIsNone(cache.get_or_set("none", None))

    def test_values_of_every_type_come_back(self):
        for value in ("", "ünï☃", -7, 2**70, 1.5, True, None, b"\x00\r\n\xff", {"a": [1, (2,)]}):
            cache.set("k", value)
            self.assertEqual(cache.get("k", "missing"), value)

    def test_non_ascii_keys_and_values(self):
        for key in ("clé", "ключ", "鍵", "é" * 100):
            cache.set(key, {"値": key})
            self.assertEqual(cache.get(key), {"値": key})
        self.assertEqual(set(cache.get_many(["clé", "鍵"])), {"clé", "鍵"})

    def test_keys_of_250_characters_with_prefix_are_the_longest(self):
        longest = "k" * (250 - len(":1:"))
        cache.set(longest, "v")
        self.assertEqual(cache.get(longest), "v")
        with self.assertRaises(InvalidCacheKey):
            cache.set(longest + "k", "v")
        with self.assertRaises(InvalidCacheKey):
            cache.get("key with spaces")

    def test_clear_empties_every_cache_of_the_server_whatever_the_prefix(self):
        cache.set("k", "v")
        caches["neighbour"].set("k", "v")
        cache.clear()
        self.assertIsNone(cache.get("k"))
        self.assertIsNone(caches["neighbour"].get("k"))


class LargeValuesTest(CacheTest):
    def test_a_large_value_comes_back_whole(self):
        value = "0123456789abcdef" * (MEBIBYTE // 16 - 64)
        cache.set("k", value)
        self.assertEqual(cache.get("k"), value)

    def test_a_failed_set_leaves_no_old_value_behind(self):
        for store in (cache.set, lambda key, value: cache.set_many({key: value})):
            cache.set("k", "old")
            with self.assertRaises((MemcacheServerError, TooBig)):
                store("k", b"x" * (MEBIBYTE + 1))
            self.assertIsNone(cache.get("k"))
            cache.set("k", "new")
            self.assertEqual(cache.get("k"), "new")


class CountersTest(CacheTest):
    def test_incr_and_decr(self):
        cache.set("k", 41)
        self.assertEqual(cache.incr("k"), 42)
        self.assertEqual(cache.incr("k", 10), 52)
        self.assertEqual(cache.decr("k"), 51)
        self.assertEqual(cache.decr("k", 10), 41)
        self.assertEqual(cache.incr("k", -1), 40)
        self.assertEqual(cache.decr("k", -2), 42)
        self.assertEqual(cache.get("k"), 42)

    def test_a_counter_stops_at_zero_and_can_be_read_after_it_got_shorter(self):
        cache.set("k", 10)
        self.assertEqual(cache.decr("k"), 9)
        self.assertEqual(cache.get("k"), 9)
        self.assertEqual(cache.decr("k", 100), 0)
        self.assertEqual(cache.get("k"), 0)

    def test_counting_a_missing_key_is_a_value_error(self):
        with self.assertRaises(ValueError):
            cache.incr("k")
        with self.assertRaises(ValueError):
            cache.decr("k")


class ManyKeysTest(CacheTest):
    def test_set_many_get_many_and_delete_many(self):
        values = {f"key-{index}": index for index in range(300)}
        self.assertEqual(cache.set_many(values), [])
        self.assertEqual(cache.get_many([*values, "missing"]), values)
        cache.delete_many([*values, "missing"])
        self.assertEqual(cache.get_many(values), {})

    def test_set_many_takes_a_timeout(self):
        cache.set_many({"a": 1, "b": 2}, timeout=0)
        self.assertEqual(cache.get_many(["a", "b"]), {})
        cache.set_many({"a": 1, "b": 2}, timeout=None)
        self.assertEqual(cache.get_many(["a", "b"]), {"a": 1, "b": 2})


class VersionsTest(CacheTest):
    def test_each_version_of_a_key_is_a_value_of_its_own(self):
        cache.set("k", "one")
        cache.set("k", "two", version=2)
        self.assertEqual(cache.get("k"), "one")
        self.assertEqual(cache.get("k", version=2), "two")
        self.assertEqual(cache.get_many(["k"], version=2), {"k": "two"})
        cache.delete("k", version=2)
        self.assertIs(cache.has_key("k", version=2), False)
        self.assertEqual(cache.get("k"), "one")

    def test_incr_version_and_decr_version_move_a_value(self):
        cache.set("k", "v")
        self.assertEqual(cache.incr_version("k"), 2)
        self.assertIsNone(cache.get("k"))
        self.assertEqual(cache.get("k", version=2), "v")
        self.assertEqual(cache.decr_version("k", version=2), 1)
        self.assertEqual(cache.get("k"), "v")
        with self.assertRaises(ValueError):
            cache.incr_version("missing")

    def test_a_neighbour_with_another_prefix_sees_nothing(self):
        cache.set("k", "v")
        self.assertIsNone(caches["neighbour"].get("k"))
        caches["neighbour"].set("k", "theirs")
        self.assertEqual(cache.get("k"), "v")


class TimeoutsTest(CacheTest):
    def test_none_is_forever_and_zero_or_less_is_not_at_all(self):
        for timeout in (None, THIRTY_DAYS, THIRTY_DAYS + 1, 365 * 24 * 60 * 60):
            cache.set("k", "v", timeout=timeout)
            self.assertEqual(cache.get("k"), "v", timeout)
        for timeout in (0, 0.5, -1, -5):
            cache.set("k", "v", timeout=timeout)
            self.assertIsNone(cache.get("k"), timeout)
            self.assertIs(cache.add("k", "v", timeout=None), True)

    def test_touch_gives_a_new_timeout(self):
        self.assertIs(cache.touch("k"), False)
        cache.set("k", "v", timeout=60)
        for timeout in (120, THIRTY_DAYS + 1, None):
            self.assertIs(cache.touch("k", timeout), True)
            self.assertEqual(cache.get("k"), "v")
        self.assertIs(cache.touch("k", 0), True)
        self.assertIsNone(cache.get("k"))

    def test_values_expire_when_their_time_is_over_and_others_stay(self):
        cache.set("set", "v", timeout=1)
        cache.add("add", "v", timeout=1)
        cache.set_many({"many": "v"}, timeout=1)
        for key in ("touched", "kept"):
            cache.set(key, "v")
        cache.touch("touched", 1)
        cache.set("prolonged", "v", timeout=2)
        cache.touch("prolonged", 60)
        time.sleep(2.1)
        found = cache.get_many(["set", "add", "many", "touched", "kept", "prolonged"])
        self.assertEqual(set(found), {"kept", "prolonged"})
