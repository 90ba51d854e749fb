"""Opens the status page in a browser, which watches that nothing is asked of anybody else."""

import urllib.parse
from contextlib import contextmanager

from playwright.sync_api import expect

# The page asks every two seconds, and a machine with other work lets it wait.
expect.set_options(timeout=60_000)


@contextmanager
def opened(browser, url, **options):
    """A page of which nothing may complain, and that may ask nobody else."""
    context = browser.new_context(**options)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.requests = requests
    page.goto(url)
    yield page
    paths = {urllib.parse.urlparse(asked).path for asked in requests if asked.startswith(url)}
    assert all(asked.startswith((url, "data:")) for asked in requests), requests
    assert paths <= {"/", "/api/v1/stats"}
    assert complaints == []
    context.close()


def follows(page):
    expect(page.locator("#live")).to_contain_text("follows every")
    expect(page.locator("#chart-hits canvas")).to_be_visible()
