"""deploy/demo: a Django site on three nodes, Prometheus and visitors, run for seconds."""

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from servers import NUTHATCH, ROOT

DEMO = ROOT / "deploy/demo"
COMPOSE = ROOT / "deploy/compose/compose.yaml"
SECONDS_MAX = 90
# What the site keeps in the cache, each in a namespace: pages are `views`.
OF_THE_SITE = ["article", "reads", "sessions", "template.related", "views"]


def end_those_with(mark):
    """Ends the processes that inherited the mark, and says which there were."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text())
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            pass  # It ended meanwhile.
    return found


@pytest.fixture
def demo():
    """Runs the demo; whatever it starts has to be gone with it."""
    mark = f"DEMO_MARK={uuid.uuid4()}"
    name, value = mark.split("=")

    def start(*arguments):
        command = [sys.executable, DEMO, "--nuthatch", NUTHATCH, *arguments]
        return subprocess.Popen(
            command, env=os.environ | {name: value}, stdout=subprocess.PIPE, text=True
        )

    yield start
    assert end_those_with(mark) == []


def test_pages_are_served_from_three_nodes_that_prometheus_scrapes(demo):
    with demo("--seconds", "3") as process:
        said, _ = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 0, said
    pages, failures = re.search(r"^(\d+) pages, (\d+) failures$", said, re.MULTILINE).groups()
    assert int(pages) > 0 and failures == "0"
    hits = re.findall(r"^127\.0\.0\.1:\d+: (\d+) hits, \d+ misses$", said, re.MULTILINE)
    assert len(hits) == 3 and all(int(count) > 0 for count in hits), said
    assert "prometheus: 3 of 3 nodes up" in said
    namespaces = set(re.findall(r"^    (\S+): \d+ items$", said, re.MULTILINE))
    assert {f"shop:{name}" for name in OF_THE_SITE} <= namespaces


@pytest.mark.parametrize("last", ["node 1", "prometheus"])
def test_a_demo_that_is_interrupted_ends_all_that_it_started(demo, last):
    """While it starts, and when the visitors come."""
    with demo() as process:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith(last) for line in lines)
        process.terminate()
        rest, _ = process.communicate(timeout=SECONDS_MAX)
    assert process.returncode == 0, rest


def test_the_demo_and_compose_run_nodes_with_the_same_flags():
    flags = re.search(r"^FLAGS = (\[.*?\])", DEMO.read_text(), re.MULTILINE | re.DOTALL)[1]
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    nodes = [service for name, service in services.items() if name.startswith("nuthatch-")]
    assert [node["command"] for node in nodes] == [yaml.safe_load(flags)] * 3


def test_the_site_is_tested_with_what_its_image_has():
    of_the_image, of_the_tests = (
        set(re.findall(r"^[\w.-]+==.*$", (ROOT / path).read_text(), re.MULTILINE))
        for path in (
            "deploy/compose/site/requirements.txt",
            "protocol-tests/clients/requirements.txt",
        )
    )
    assert of_the_image and of_the_image <= of_the_tests
