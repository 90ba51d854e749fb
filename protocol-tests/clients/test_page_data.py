"""The parts of the status page that are there when there is something to tell: hot keys, advice, drain, snapshot."""

import os
import re
import signal
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import expect
from pymemcache import Client

import servers
from admin import administered
from browser import follows, opened
from test_page import near, number
from verbs import run
from wire import Item, Wire

# There are no blanks in keys.
HOSTILE = "</th><img/src=x/onerror=alert(1)>&lt;\"'"
HOSTILE_FILE = "<img src=x onerror=alert(1)>&quot;'\""
ITEMS = 3000
ROUNDS_MAX = 10
SCRIPT = pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])


def rows(page, path):
    return page.eval_on_selector(
        f"[data-rows='{path}']", "body => [...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


@contextmanager
def read(browser, admin, script):
    with opened(browser, admin.url, java_script_enabled=script) as page:
        if script:
            follows(page)
        yield page


@pytest.fixture(scope="module")
def hot(tmp_path_factory):
    """One key is asked for most, and another one moves most bytes."""
    with administered(tmp_path_factory.mktemp("hot"), "-t", "1", "--show-keys") as admin:
        with Wire(admin.server.endpoint) as wire:
            busy, large = [f"{HOSTILE}:{name}:{'k' * 150}".encode() for name in ("busy", "large")]
            wire.store({busy: Item(b"x"), large: Item(b"y" * 10_000)})
            requests = b"get " + busy + b"\r\nget " + busy + b"\r\nget " + large + b"\r\n"
            hot = {"by_operations": []}
            for _ in range(100):
                wire.socket.sendall(requests * 500)
                assert sum(wire.line() == b"END" for _ in range(500 * 9)) == 1500
                hot = admin.stats()["keys"]["hot"]
                if min(len(hot["by_operations"]), len(hot["by_bytes"])) == 2:
                    break
        assert [row["key"] for row in hot["by_operations"]] == [busy.decode(), large.decode()]
        assert [row["key"] for row in hot["by_bytes"]] == [large.decode(), busy.decode()]
        by_bytes = hot["by_bytes"][0]
        assert by_bytes["bytes"] == pytest.approx(10_000 * by_bytes["operations"], rel=0.01)
        yield admin


@SCRIPT
def test_hot_keys_are_text_and_their_numbers_those_of_the_api(browser, hot, script):
    with read(browser, hot, script) as page:
        told = hot.stats()["keys"]["hot"]
        for kind, unit in [("by_operations", "operations"), ("by_bytes", "bytes")]:
            found = rows(page, f"/keys/hot/{kind}")
            assert [(key, share) for key, _, share in found] == [
                (row["key"], f"{row['share'] * 100:.2f} %") for row in told[kind]
            ]
            assert [number(count) for _, count, _ in found] == [near(row[unit]) for row in told[kind]]
        expect(page.locator("img")).to_have_count(0)
        expect(page.locator("script")).to_have_count(2)


@pytest.mark.parametrize("width", [400, 1280])
def test_long_keys_leave_room_for_their_numbers(browser, hot, width):
    with opened(browser, hot.url, viewport={"width": width, "height": 800}) as page:
        follows(page)
        wider = "one => one.checkVisibility() && one.scrollWidth > one.clientWidth"
        hidden = page.locator(".scroll").evaluate_all(f"all => all.filter({wider}).map((one) => one.ariaLabel)")
        assert hidden == [] or (width == 400 and hidden == ["Namespaces"])


def test_keys_are_not_shown_unasked(browser, tmp_path):
    with administered(tmp_path) as admin, opened(browser, admin.url) as page:
        follows(page)
        expect(page.get_by_role("heading", name="Hot keys")).to_be_hidden()
        assert admin.stats()["keys"]["hot"] is None


@SCRIPT
def test_names_of_namespaces_and_files_are_text(browser, tmp_path, script):
    folder = tmp_path / HOSTILE_FILE
    folder.mkdir()
    with administered(tmp_path, "-e", str(folder / "memory")) as admin:
        with closing(Client(admin.server.endpoint, default_noreply=False)) as client:
            client.set(f"{HOSTILE}:1", "value")
        with read(browser, admin, script) as page:
            for told in ("#settings", "[data-path='/snapshot/file']"):
                expect(page.locator(told)).to_contain_text(f"{folder}/memory")
            names = page.locator("#namespace-rows tbody th")
            expect(names).to_have_text([HOSTILE, "other"])
            expect(page.locator("img")).to_have_count(0)
            expect(page.locator("script")).to_have_count(2)
            if script:
                part = page.locator("#namespace-map span").first
                expect(part).to_have_attribute("title", re.compile(re.escape(HOSTILE)))


@pytest.fixture(scope="module")
def advised(tmp_path_factory):
    """So many keys were asked for that other sizes of memory can be told of."""
    with administered(tmp_path_factory.mktemp("advice"), "-m", "2") as admin:
        load = ["--keys", "20000", "--for", "2s", "--set-percent", "20", "--popularity", "zipf"]
        for _ in range(ROUNDS_MAX):
            assert run("bench", *load, "--pipeline", "20", "--connections", "4", server=admin.server)[0] == 0
            if admin.stats()["keys"]["advice"]["hit_ratios"]:
                break
        yield admin


@SCRIPT
def test_advice_is_a_sentence_a_table_and_bars(browser, advised, script):
    with read(browser, advised, script) as page:
        advice = advised.stats()["keys"]["advice"]
        assert list(advice["hit_ratios"]) == ["0.5x", "1x", "2x", "4x"]
        expect(page.locator(".advice")).to_have_text(advice["sentence"])
        shares = {size: f"{ratio * 100:.2f} %" for size, ratio in advice["hit_ratios"].items()}
        found = rows(page, "/keys/advice/hit_ratios")
        assert {size: share for size, share in found} == shares
        bars = page.locator("[data-ratios]")
        if not script:
            expect(bars).to_be_hidden()
            return
        expect(bars.locator("span")).to_have_text([text for pair in shares.items() for text in pair])
        lengths = bars.locator("i").evaluate_all("all => all.map((bar) => parseFloat(bar.style.width))")
        ratios = advice["hit_ratios"].values()
        assert lengths == pytest.approx([100 * ratio for ratio in ratios], abs=0.001)


def test_before_there_is_advice_no_curve_is_shown(browser, tmp_path):
    with administered(tmp_path) as admin, opened(browser, admin.url) as page:
        follows(page)
        expect(page.locator(".advice")).to_contain_text("too few keys have been asked for")
        expect(page.locator("[data-ratios]")).to_be_hidden()
        expect(page.get_by_role("region", name="Hit rate with so much memory")).to_be_hidden()


@SCRIPT
def test_a_drain_is_followed_to_its_end(browser, tmp_path, script):
    with administered(tmp_path, "-A") as admin, Wire(admin.server.endpoint) as wire:
        with read(browser, admin, script) as page:
            progress = page.get_by_role("region", name="Clients that leave")
            expect(page.locator("#state")).to_have_text("serving")
            expect(progress).to_be_hidden()
            with ExitStack() as others:
                for _ in range(3):
                    other = others.enter_context(Wire(admin.server.endpoint))
                    assert other.ask(b"version").startswith(b"VERSION")
                assert wire.ask(b"drain") == b"OK"
            wait_until(lambda: admin.stats()["drain"]["clients"] == 1)
            renew(page, script)
            expect(page.locator("#state")).to_have_text("draining")
            words = progress.locator("label")
            expect(words).to_contain_text("Of 4 that were connected, 75 % have gone; connected now: 1")
            expect(page.locator("#state")).to_have_class("draining")
            expect(progress.get_by_role("progressbar")).to_have_js_property("value", 75)
            assert wire.ask(b"drain off") == b"OK"
            renew(page, script)
            expect(page.locator("#state")).to_have_text("serving")
            expect(progress).to_be_hidden()


def wait_until(condition):
    deadline = time.monotonic() + servers.START_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def still(measure):
    """What is measured, once it does not change any more."""
    seen = []

    def is_still():
        seen.append(measure())
        return seen[-1] is not None and len(seen) > 10 and len(set(seen[-10:])) == 1

    wait_until(is_still)
    return seen[-1]


def renew(page, script):
    """A page without a script shows what was when it was loaded."""
    if not script:
        page.reload()


@contextmanager
def held(monkeypatch, file, call, number, daemon):
    """The daemon waits at the call of this number for this file until it is let go."""
    trace = ["strace", "-D", "-f", "-qq", "-o", os.devnull, "-P", str(file), "-e", f"trace={call}"]
    inject = f"inject={call}:delay_enter=3600000000:when={number}"
    with monkeypatch.context() as patch:
        patch.setitem(servers.PROGRAMS, "nuthatch", [*trace, "-e", inject, servers.NUTHATCH])
        with daemon as admin:
            try:
                yield admin
            finally:
                let_go(file)


def let_go(file):
    """Ends those who hold calls for this file."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
            if program == b"strace" and os.fsencode(file) in arguments:
                os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def ends_with_a_snapshot(directory, file):
    """A daemon with items, which has ended well when the block ends."""
    with pytest.raises(AssertionError, match="died with status 0"):
        with administered(directory, "-e", str(file)) as admin:
            with Wire(admin.server.endpoint) as wire:
                wire.store({f"key-{number}".encode(): Item(os.urandom(1000)) for number in range(ITEMS)})
            yield admin
            os.waitid(os.P_PID, admin.server.pid, os.WEXITED | os.WNOWAIT)


def tells(page, state, percent):
    progress = page.get_by_role("region", name="Progress")
    expect(page.locator("#state")).to_have_text(state)
    expect(progress).to_contain_text(f"The snapshot comes back, or is written: {percent} %")
    expect(progress.get_by_role("progressbar")).to_have_js_property("value", percent)


@SCRIPT
def test_a_snapshot_that_comes_back_is_followed_to_its_end(browser, tmp_path, monkeypatch, script):
    file = tmp_path / "memory"
    with ends_with_a_snapshot(tmp_path, file) as admin:
        os.kill(admin.server.pid, signal.SIGTERM)
    with held(monkeypatch, file, "read", 60, administered(tmp_path, "-e", str(file))) as admin:
        percent = still(lambda: admin.stats()["snapshot"]["percent"])
        assert 0 < percent < 100
        with read(browser, admin, script) as page:
            tells(page, "restoring", percent)
            let_go(file)
            wait_until(lambda: admin.stats()["server"]["state"] == "serving")
            renew(page, script)
            expect(page.locator("#state")).to_have_text("serving")
            expect(page.get_by_role("region", name="Progress")).to_be_hidden()
            expect(page.get_by_role("row", name=re.compile(rf"^items {ITEMS:,}$"))).to_be_visible()


@SCRIPT
def test_a_snapshot_that_is_written_is_followed(browser, tmp_path, monkeypatch, script):
    file = tmp_path / "memory"
    temporary = tmp_path / "memory.tmp"
    with held(monkeypatch, temporary, "write", 4, ends_with_a_snapshot(tmp_path, file)) as admin:
        os.kill(admin.server.pid, signal.SIGTERM)
        percent = still(lambda: admin.stats()["snapshot"]["percent"])
        assert 0 < percent < 100
        with read(browser, admin, script) as page:
            tells(page, "stopping", percent)
        let_go(temporary)
