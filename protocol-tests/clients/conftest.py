"""The servers that every test runs against, nuthatch and memcached as the reference; a browser."""

import shutil
import time

import pytest
from playwright.sync_api import sync_playwright

from servers import PROGRAMS, running

# Only a failure waits as long.
SOON_SECONDS_MAX = 60
EACH_SERVER = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in PROGRAMS]


@pytest.fixture(scope="session", params=EACH_SERVER)
def daemon(request, tmp_path_factory):
    """The daemon under test: started once, whatever the tests do to it."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(scope="session")
def second_daemon(daemon, tmp_path_factory):
    """Another daemon of the same kind, for clients that spread keys over two."""
    with running(daemon.name, tmp_path_factory.mktemp(daemon.name)) as server:
        yield server


@pytest.fixture
def server(daemon):
    daemon.flush()
    return daemon


@pytest.fixture
def second_server(second_daemon):
    second_daemon.flush()
    return second_daemon


@pytest.fixture
def soon():
    """`soon(condition)` is whether the condition came true, waited for at most a minute."""

    def poll(condition):
        deadline = time.monotonic() + SOON_SECONDS_MAX
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return poll


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["nuthatch", "memcached"])
def cache(request, caches):
    server = caches[request.param]
    server.flush()
    return server


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """One of each kind. Who may shut nuthatch down may drain it."""
    with (
        running("nuthatch", tmp_path_factory.mktemp("one"), "-A") as one,
        running("memcached", tmp_path_factory.mktemp("two")) as two,
    ):
        yield {"nuthatch": one, "memcached": two}
