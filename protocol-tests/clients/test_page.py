"""The status page in a browser: the numbers of the API, nothing from elsewhere, and no name that becomes HTML."""

import re
import shutil
import threading
import urllib.parse
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright
from pymemcache import Client

from admin import administered
from test_api import at, load, settled

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")

# Time changes them, or looking at the page does.
RESTLESS = re.compile("uptime|heartbeat|resident|age_seconds|descriptors|/stats/|/memory/states|latency|/items/")
CONTRAST_MIN = 4.5
HOSTILE = "<img src=x onerror=alert(1)>&quot;'\""
# As a client may call a namespace: there are no blanks in keys.
NAME = "<img/src=x/onerror=alert(1)>"

# The lowest contrast between a text and what it stands on.
LEAST_CONTRAST = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const ground = (element) => {
    for (let part = element; part; part = part.parentElement) {
      const color = parts(getComputedStyle(part).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
  };
  const texts = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return Math.min(...texts.map((element) => {
    const [one, other] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  }));
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    with administered(tmp_path_factory.mktemp("page"), "-m", "2", "--compress-min", "100") as admin:
        clients = [threading.Thread(target=load, args=(admin.server, seed)) for seed in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        settled(admin)
        yield admin


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


def told(page):
    """Each number by its path, and each table by that of its rows."""
    numbers = page.eval_on_selector_all(
        "[data-path]", "all => all.map((one) => [one.dataset.path, one.dataset.format, one.textContent])"
    )
    tables = page.eval_on_selector_all(
        "[data-rows]",
        "all => all.map((one) => [one.dataset.rows, "
        "[...one.rows].map((row) => [...row.cells].map((cell) => cell.textContent))])",
    )
    return numbers, dict(tables)


def test_the_numbers_are_those_of_the_api_with_and_without_a_script(browser, loaded):
    with opened(browser, loaded.url) as page, opened(browser, loaded.url, java_script_enabled=False) as plain:
        follows(page)
        (numbers, tables), (plain_numbers, plain_tables) = told(page), told(plain)
        stats = loaded.stats()
    assert stats["stats"]["get_hits"] > 0 and stats["evictions"]["total"] > 0
    still = [number for number in numbers if not RESTLESS.search(number[0])]
    assert len(still) > 10
    assert still == [number for number in plain_numbers if not RESTLESS.search(number[0])]
    for path, unit, text in numbers:
        if unit == "count" and not path.endswith("connections") and not RESTLESS.search(path):
            assert text == f"{at(stats, path[1:].replace('/', '.')):,}", path
    for path in ("/commands", "/miss_reasons", "/limit_hits", "/latency_seconds"):
        assert tables[path] == plain_tables[path], path
    get = stats["commands"]["get"]
    expected = ["get", f"{get['count']:,}", f"{get['hits']:,}", f"{get['misses']:,}"]
    assert tables["/commands"][0] == expected


def test_it_follows_what_happens(browser, tmp_path):
    with administered(tmp_path) as admin, opened(browser, admin.url) as page:
        follows(page)
        hits = page.locator("tbody[data-rows='/commands'] tr").first.locator("td").nth(1)
        expect(hits).to_have_text("0")
        with closing(Client(admin.server.endpoint, default_noreply=False)) as client:
            client.set("key", "value")
            client.get_many(["key"] * 7), [client.get("key") for _ in range(1234)]
        expect(hits).to_have_text("1,241")
        expect(page.locator("#chart-hits")).to_have_attribute("aria-label", re.compile("hit rate 100.00 %"))


def test_without_a_script_everything_is_there_but_charts(browser, loaded):
    with opened(browser, loaded.url, java_script_enabled=False) as page:
        expect(page.get_by_text("With JavaScript it follows them")).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)
        expect(page.locator("figure").first).to_be_hidden()
        expect(page.get_by_role("row", name="memory-limit 2 flag")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_text_can_be_read(browser, loaded, scheme):
    with opened(browser, loaded.url, color_scheme=scheme) as page:
        follows(page)
        page.locator("summary").click()
        assert page.evaluate(LEAST_CONTRAST) >= CONTRAST_MIN
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 64) == (scheme == "dark")


@pytest.mark.parametrize("width", [320, 400, 1280])
def test_it_fits_its_window(browser, loaded, width):
    with opened(browser, loaded.url, viewport={"width": width, "height": 800}) as page:
        follows(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_are_text(browser, tmp_path):
    folder = tmp_path / HOSTILE
    folder.mkdir()
    with administered(tmp_path, "-e", str(folder / "memory"), "--show-keys") as admin:
        with closing(Client(admin.server.endpoint, default_noreply=False)) as client:
            for number in range(200):
                client.set(f"{NAME}:{number % 2}", "value")
        for script in (True, False):
            with opened(browser, admin.url, java_script_enabled=script) as page:
                if script:
                    follows(page)
                expect(page.get_by_text(f"{folder}/memory").first).to_be_visible()
                name = page.locator("#namespace-rows th", has_text=NAME)
                expect(name).to_have_text(NAME)
                expect(page.locator("img")).to_have_count(0)


def asked(page):
    return sum(url.endswith("/api/v1/stats") for url in page.requests)


def test_it_asks_nothing_while_paused_or_hidden(browser, loaded):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    page.goto(loaded.url)
    expect(page.locator("#live")).to_contain_text("follows")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
    before = asked(page)
    page.clock.run_for(60_000)
    assert asked(page) == before
    page.keyboard.press("Enter")
    with page.expect_response("**/api/v1/stats"):
        page.clock.run_for(2_000)
    expect(page.locator("#live")).to_contain_text("follows")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    before = asked(page)
    page.clock.run_for(60_000)
    assert asked(page) == before
    context.close()


def test_it_says_that_nobody_answers_and_asks_less(browser, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    with administered(tmp_path) as admin:
        page.goto(admin.url)
        expect(page.locator("#live")).to_contain_text("follows")
    for pause in (4, 8, 16, 32, 60, 60):
        page.clock.run_for(pause * 1000)
        expect(page.locator("#live")).to_contain_text(f"Next try in {pause} s.")
    expect(page.locator("#live")).to_contain_text("these numbers are old")
    context.close()
