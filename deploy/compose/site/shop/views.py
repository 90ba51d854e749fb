"""Pages that use the cache in each of Django's ways: whole pages, values, fragments, counters, sessions."""

import random
import time

from django.core.cache import cache
from django.http import Http404
from django.shortcuts import render
from django.views.decorators.cache import cache_page

ARTICLES = 2000
DATABASE_SECONDS = 0.01
WORDS = (
    "nut hatch tree bark seed wood beak nest song wing branch moss winter crumb hollow clay".split()
)


def write(number):
    """The text of an article, as slow as a database and the same each time."""
    time.sleep(DATABASE_SECONDS)
    dice = random.Random(number)
    return " ".join(dice.choices(WORDS, k=dice.randrange(200, 3000)))


@cache_page(30)
def front(request):
    """A whole page, kept for everybody."""
    numbers = range(1, 21)
    return render(request, "shop/front.html", {"numbers": numbers})


def article(request, number):
    """A value, a counter, and a fragment that is dearer than the rest of the page."""
    if not 1 <= number <= ARTICLES:
        raise Http404
    text = cache.get_or_set(f"article:{number}", lambda: write(number), 300)
    cache.add(f"reads:{number}", 0, None)
    try:
        reads = cache.incr(f"reads:{number}")
    except ValueError:  # Evicted between the two.
        reads = 1

    def related():
        """Called only if the fragment is not cached."""
        return [write(number + step)[:60] for step in (1, 2, 3)]

    values = {"number": number, "text": text, "reads": reads, "related": related}
    return render(request, "shop/article.html", values)


def basket(request):
    """A page of one visitor."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return render(request, "shop/basket.html", {"visits": request.session["visits"]})
