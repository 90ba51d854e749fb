"""deploy/prometheus and deploy/grafana against a real Prometheus, which scrapes nuthatch under load."""

import itertools
import json
import math
import random
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager

import pytest
import yaml
from pymemcache import Client

from admin import administered
from servers import ROOT, START_SECONDS_MAX

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/nuthatch.json"
DATA_SECONDS_MAX = 60

# What the 13 panels of the dashboard "Memcached Overview" of memcached's mixin ask for.
SELECTED = '{cluster=~"$cluster", job=~"$job", instance=~"$instance"}'
OF_THE_MIXIN = {
    "Hit Rate": [
        f"""sum(rate(memcached_commands_total{SELECTED[:-1]}, command="get", status="hit"}}[$__rate_interval]))
        / sum(rate(memcached_commands_total{{cluster=~"$cluster", job=~"$job", command="get"}}[$__rate_interval]))"""
    ],
    "Top 20 Highest Connection Usage": [
        f"""topk(20, max by (cluster, job, instance)
        (memcached_current_connections{SELECTED} / memcached_max_connections{SELECTED}))"""
    ],
    "Commands": [
        f"sum by(command, status) (rate(memcached_commands_total{SELECTED}[$__rate_interval]))"
    ],
    "Evictions": [
        f"sum by(instance) (rate(memcached_items_evicted_total{SELECTED}[$__rate_interval]))"
    ],
    "Stored": [f"sum by(instance) (rate(memcached_items_total{SELECTED}[$__rate_interval]))"],
    "CPU": [
        f"""sum by (instance) (rate(memcached_process_user_cpu_seconds_total{SELECTED}[$__rate_interval])
        + rate(memcached_process_system_cpu_seconds_total{SELECTED}[$__rate_interval]))"""
    ],
    "Memory": [f"sum by(instance) (memcached_current_bytes{SELECTED})"],
    "Items": [f"sum by(instance) (memcached_current_items{SELECTED})"],
    "Current Connections": [
        f"sum by(instance) (memcached_current_connections{SELECTED})",
        f"min(memcached_max_connections{SELECTED})",
    ],
    "Connections / sec": [
        f"sum by(instance) (rate(memcached_connections_total{SELECTED}[$__rate_interval]))"
    ],
    "Bytes received": [
        f"sum by(instance) (rate(memcached_read_bytes_total{SELECTED}[$__rate_interval]))"
    ],
    "Bytes transmitted": [
        f"sum by(instance) (rate(memcached_written_bytes_total{SELECTED}[$__rate_interval]))"
    ],
    "Memcached Info": [
        f"count by (job, instance, version) (memcached_version{SELECTED})",
        f"max by (job, instance) (memcached_uptime_seconds{SELECTED})",
    ],
}

# In the log.
LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
READY = re.compile("(Server is ready)")


def promtool(*arguments):
    """What promtool says of a file; it has to like it."""
    command = ["promtool", *arguments]
    told = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def rules():
    groups = yaml.safe_load((PROMETHEUS / "nuthatch.rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_promtool_has_nothing_to_say_about_configuration_and_rules():
    said = promtool("check", "config", "prometheus.yml")
    assert re.findall(r"(\w+): +(\d+) rules", said) == [("SUCCESS", str(len(rules())))]
    assert "prometheus.yml is valid" in said


def test_every_alert_fires_in_promtools_test_of_the_rules():
    promtool("test", "rules", "nuthatch.rules.test.yml")
    tests = yaml.safe_load((PROMETHEUS / "nuthatch.rules.test.yml").read_text())["tests"]
    fired = {
        (tested["alertname"], alert["exp_labels"]["severity"])
        for test in tests
        for tested in test["alert_rule_test"]
        for alert in tested.get("exp_alerts", [])
    }
    assert fired == {(rule["alert"], rule["labels"]["severity"]) for rule in rules()}


def queries_of_the_dashboard():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in panels
        if panel["type"] != "row"
    }


def test_panels_have_their_own_id_and_place():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = []
    for panel in panels:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        places += itertools.product(columns, range(place["y"], place["y"] + place["h"]))
        assert columns.stop <= 24, panel["title"]
    assert len(set(places)) == len(places)


@contextmanager
def prometheus(directory, admin):
    """Runs Prometheus with the files of deploy/, but in a hurry; yields its address."""
    config = (PROMETHEUS / "prometheus.yml").read_text()
    (directory / "prometheus.yml").write_text(config.replace("_interval: 15s", "_interval: 500ms"))
    (directory / "nuthatch.rules.yml").write_text((PROMETHEUS / "nuthatch.rules.yml").read_text())
    nodes = yaml.safe_load((PROMETHEUS / "nodes.yml").read_text())
    (directory / "nodes.yml").write_text(yaml.safe_dump([nodes[0] | {"targets": [admin]}]))
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with open(directory / "prometheus.log", "w+") as log:
        process = subprocess.Popen(
            [*command, "--web.listen-address=127.0.0.1:0"], cwd=directory, stderr=log
        )
        try:
            address = found_in(directory / "prometheus.log", LISTENING)
            found_in(directory / "prometheus.log", READY)
            yield address
        finally:
            process.kill()
            process.wait()


def found_in(log, pattern):
    """What the pattern's group is in the log, as soon as it is there."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not (match := pattern.search(log.read_text())):
        assert time.monotonic() < deadline, f"no {pattern.pattern} in {log.read_text()}"
        time.sleep(0.02)
    return match[1]


def ask(address, path, **parameters):
    url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)["data"]


def has_data(address, query):
    query = query.replace("$__rate_interval", "5s")
    query = re.sub(r"\$\w+", ".*", query)
    series = ask(address, "query", query=query)["result"]
    return any(math.isfinite(float(sample["value"][1])) for sample in series)


@contextmanager
def load(server):
    """Some of everything, over and over: also evictions, and values that can be compressed."""
    ended = threading.Event()

    def work():
        with closing(Client(server.endpoint, default_noreply=False)) as client:
            for number in itertools.count():
                if ended.is_set():
                    return
                kind = ("page", "session", "fragment")[number % 3]
                value = "".join(random.randbytes(50).hex() * 2 for _ in range(50))
                client.set(f"{kind}:{number}", value, expire=1 + number % 3600)
                client.get_many([f"{kind}:{number - back}" for back in (0, 3, 300, 100_000)])
                # Keys are sampled for the advice: it takes many.
                many = {f"small:{number}:{index}": "v" for index in range(20)}
                client.set_many(many), client.get_many(many)
                # An odd number of turns: one in sixteen is timed.
                client.get("page:hot"), client.get(f"{kind}:{number}")
                client.incr(f"counter:{number % 7}", 1) or client.set(f"counter:{number % 7}", "1")
                client.delete(f"{kind}:{number // 20 * 20 - 40}")
                client.touch(f"{kind}:{number - 9}", 60)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        ended.set()
        worker.join()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """The address of a Prometheus that scrapes a nuthatch while it is asked."""
    directory = tmp_path_factory.mktemp("prometheus")
    flags = ["-m", "8", "-I", "64k", "--compress-min", "1024"]
    with administered(directory, *flags) as admin, load(admin.server):
        with prometheus(directory, admin.url.removeprefix("http://")) as address:
            yield address


def without_data(address, panels):
    """The queries that return no number, however long one waits."""
    left = {query for queries in panels.values() for query in queries}
    deadline = time.monotonic() + DATA_SECONDS_MAX
    while left and time.monotonic() < deadline:
        left = {query for query in left if not has_data(address, query)}
        time.sleep(0.2)
    return left


def test_every_panel_of_memcacheds_dashboard_has_data(scraped):
    assert len(OF_THE_MIXIN) == 13
    assert without_data(scraped, OF_THE_MIXIN) == set()


def test_every_panel_of_our_dashboard_has_data(scraped):
    assert without_data(scraped, queries_of_the_dashboard()) == set()


def test_every_alert_is_evaluated_and_the_target_is_up(scraped):
    deadline = time.monotonic() + DATA_SECONDS_MAX
    while True:
        groups = ask(scraped, "rules")["groups"]
        evaluated = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in evaluated):
            break
        assert time.monotonic() < deadline, evaluated
        time.sleep(0.2)
    assert len(evaluated) == len(rules())
    assert {(rule["health"], rule.get("lastError")) for rule in evaluated} == {("ok", None)}
    # What alerts compare is there.
    compared = "".join(rule["query"] for rule in evaluated)
    names = set(re.findall(r"\b(?:memcached|nuthatch)_\w+|\bup\b", compared))
    assert names and without_data(scraped, {"alerts": names}) == set()
    (target,) = ask(scraped, "targets")["activeTargets"]
    assert (target["health"], target["labels"]["job"]) == ("up", "nuthatch")
