"""What a visitor of the site sees of the cache."""

from django.core.cache import cache
from django.core.cache.utils import make_template_fragment_key
from django.test import Client, SimpleTestCase


class PagesTest(SimpleTestCase):
    def setUp(self):
        cache.clear()

    def text(self, path):
        return self.client.get(path).content.decode().strip()

    def test_a_cached_page_is_rendered_once(self):
        first = self.text("/report/")
        self.assertEqual(self.text("/report/"), first)
        self.assertNotEqual(self.text("/report/?page=2"), first)
        cache.clear()
        self.assertNotEqual(self.text("/report/"), first)

    def test_a_fragment_is_rendered_once_for_each_reader_within_a_page_that_is_not_cached(self):
        first_page, first_fragment = self.text("/sidebar/éva/").split(", ")
        second_page, second_fragment = self.text("/sidebar/éva/").split(", ")
        self.assertNotEqual(first_page, second_page)
        self.assertEqual(first_fragment, second_fragment)
        self.assertIn("für éva", first_fragment)
        self.assertIn("für bob", self.text("/sidebar/bob/"))

    def test_a_fragment_can_be_dropped_by_its_key(self):
        first = self.text("/sidebar/éva/").split(", ")[1]
        self.assertTrue(cache.delete(make_template_fragment_key("sidebar", ["éva"])))
        self.assertNotEqual(self.text("/sidebar/éva/").split(", ")[1], first)

    def test_a_session_lasts_across_requests_and_belongs_to_one_visitor(self):
        for visit in ("visit 1", "visit 2", "visit 3"):
            self.assertEqual(self.text("/visits/"), visit)
        self.assertEqual(Client().get("/visits/").content, b"visit 1")

    def test_a_session_ends_with_its_logout_and_with_the_cache(self):
        self.text("/visits/")
        self.client.session.flush()
        self.assertEqual(self.text("/visits/"), "visit 1")
        cache.clear()
        self.assertEqual(self.text("/visits/"), "visit 1")
