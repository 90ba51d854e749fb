"""Three pages, each cached in another of Django's ways."""

from itertools import count

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_page

rendered = count(1)


@cache_page(60)
def report(request):
    """A whole page that is kept for a minute."""
    return HttpResponse(f"rendering {next(rendered)}")


def sidebar(request, reader):
    """A page with a fragment that is kept for each reader."""
    numbers = {"reader": reader, "page": next(rendered), "rendered": lambda: next(rendered)}
    return render(request, "pages/sidebar.html", numbers)


def visits(request):
    """A page that counts in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"visit {request.session['visits']}")
