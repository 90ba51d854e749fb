"""The status page in a browser: the numbers of the API, and how it follows them."""

import itertools
import re
import threading
from contextlib import closing

import pytest
from playwright.sync_api import expect
from pymemcache import Client

from admin import administered
from browser import follows, opened
from test_api import at, load, settled

# Time changes them, or looking at the page does, or they are not there.
RESTLESS = re.compile("/drain/|uptime|heartbeat|resident|age_seconds|descriptors|/stats/|/memory/(states|charged)|latency|/items/")
CONTRAST_MIN = 4.5
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
def loaded(tmp_path_factory):
    with administered(tmp_path_factory.mktemp("page"), "-m", "2", "--compress-min", "100") as admin:
        clients = [threading.Thread(target=load, args=(admin.server, seed)) for seed in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        settled(admin)
        yield admin


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


UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 2**20, "%": 0.01, "µs": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}

# What the numbers of these rows and columns are called by the API.
ROWS = {
    "Limit (-m)": "memory.limit_bytes",
    "Items": "stats.curr_items",
    "Shards": "shards.count",
    "Fullest shard by the average one": "shards.items_skew_ratio",
    "Writers that had to wait for their turn": "shards.lock_waits",
    "Values compressed": "compression.values",
    "Their bytes before": "compression.input_bytes",
    "Their bytes after": "compression.stored_bytes",
    "Evicted to make room": "evictions.total",
    "Of these, never fetched": "evictions.unfetched",
    "Of these, with an expiry": "evictions.with_expiry",
    "The last one had not been used for": "evictions.last_idle_seconds",
    "Expired or flushed, and taken back": "stats.reclaimed",
    "The same, by the sweep": "stats.crawler_reclaimed",
    "Age of what was evicted": "evictions.age_seconds",
    "Unused before it was evicted": "evictions.idle_seconds",
}
COLUMNS = {
    "Count": "count", "Hits": "hits", "Misses": "misses",
    "Timed": "count", "50": "p50", "99": "p99", "99.9": "p999",
    "Requests": "requests", "Hit rate": "hit_ratio", "Sets": "sets", "Items": "items", "Bytes": "bytes",
    "Evictions": "evictions",
}  # fmt: skip


TABLES = {"/commands", "/latency_seconds", "/keys/namespaces"}
TRIES_MAX = 10
HOUR = 3600


def number(text):
    amount, _, unit = text.partition(" ")
    return None if amount == "–" else float(amount.replace(",", "")) * UNITS[unit]


def near(value):
    """As a person reads it: two digits or more are right."""
    return None if value is None else pytest.approx(value, rel=0.05, abs=0.005)


def compared(page, stats):
    """What is under names of the page, and those where it is not what the API tells."""
    tables = page.locator("table").evaluate_all(
        "all => all.map((table) => [table.tBodies[0].dataset.rows, "
        "[...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))])"
    )
    seen, wrong = set(), []

    def compare(name, cells, values):
        seen.add(name)
        if [number(cell) for cell in cells] != [near(value) for value in values]:
            wrong.append((name, cells, values))

    for path, (head, *rows) in tables:
        columns = [COLUMNS.get(name) for name in head[1:]]
        for name, *cells in [head, *rows]:
            if name in ROWS and path is None:
                value = at(stats, ROWS[name])
                values = [value[column] for column in columns] if isinstance(value, dict) else [value]
                compare(name, cells, values)
        if path in TABLES:
            told = at(stats, path[1:].replace("/", "."))
            of = told if isinstance(told, dict) else {row["name"]: row for row in told}
            for name, *cells in rows:
                compare(path, cells, [of[name].get(column) for column in columns])
    return seen, wrong


@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
def test_each_number_is_under_its_name(browser, loaded, script):
    with opened(browser, loaded.url, java_script_enabled=script) as page:
        if script:
            follows(page)
        for _ in range(TRIES_MAX):
            seen, wrong = compared(page, loaded.stats())
            if not wrong:
                break
            # What has expired may be swept away just now.
            page.wait_for_timeout(500)
            if not script:
                page.reload()
    assert wrong == []
    assert seen == {*ROWS, *TABLES}


def test_charts_draw_what_happens(browser, tmp_path):
    some = r"[1-9][\d,.]*( \w+)?/s"
    with administered(tmp_path, "-m", "2") as admin, opened(browser, admin.url) as page:
        follows(page)
        is_over = threading.Event()

        def ask():
            with closing(Client(admin.server.endpoint, default_noreply=False)) as client:
                client.set("small", 1)
                for turn in itertools.takewhile(lambda _: not is_over.is_set(), itertools.count()):
                    client.set(f"key-{turn}", b"v" * 10_000)
                    client.get("small"), client.get("none"), client.delete("none"), client.delete("deleted")
                    client.set("deleted", 1), client.delete("deleted"), client.get("deleted"), client.touch("none")
                    client.set("number", 1), client.incr("number", 1)

        client = threading.Thread(target=ask)
        client.start()
        try:
            for chart, drawn in {
                "commands": f"get {some}, set {some}, delete {some}, touch {some}, arithmetic {some}",
                "hits": r"hit rate 3\d\.\d\d %",
                "latency": r"50 % \d.*s, 99 % \d.*s, 99.9 % \d.*s",
                "misses": f"absent {some}, expired 0/s, flushed 0/s, evicted 0/s, deleted {some}",
                "evictions": f"evicted {some}, expired or flushed 0/s",
                "connections": "connected 1",
                "bytes": r"read [\d.,]+ [KM]iB/s, written [\d.,]+ [KM]iB/s",
            }.items():
                expect(page.locator(f"#chart-{chart}")).to_have_attribute("aria-label", re.compile(drawn))
            label = page.locator("#chart-bytes").get_attribute("aria-label")
            read, written = [number(rate) for rate in re.findall(r"([\d.,]+ \w+)/s", label)]
            assert read > 5 * written
            for tile, now in [("operations", some), ("evictions", some), ("get_p99", r"[\d.]+ [µm]?s")]:
                expect(page.locator(f"[data-now={tile}]")).to_have_text(re.compile(f"^{now}$"))
        finally:
            is_over.set()
            client.join()


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
    page.clock.install(time=0)
    with administered(tmp_path) as admin:
        page.goto(admin.url)
        expect(page.locator("#live")).to_contain_text("follows")
        # From here on the page's clock moves when it is told to, not while the machine is busy.
        with page.expect_response("**/api/v1/stats*") as asked:
            page.clock.pause_at(HOUR)
        asked.value.finished()
    for pause in (4, 8, 16, 32, 60, 60):
        page.clock.run_for(pause * 1000)
        expect(page.locator("#live")).to_contain_text(f"Next try in {pause} s.")
    expect(page.locator("#live")).to_contain_text("these numbers are old")
    context.close()
