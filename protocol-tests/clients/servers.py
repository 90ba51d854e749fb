"""Starts a cache daemon on a free port of its own choice and stops it again.

Both daemons are started by the same command line and name their port in the file that
MEMCACHED_PORT_FILENAME asks for, so nothing here depends on which of the two it is.
"""

import os
import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pymemcache import Client

HOST = "127.0.0.1"
START_SECONDS_MAX = 60
ROOT = Path(__file__).resolve().parents[2]

NUTHATCH = os.environ.get("NUTHATCH_BIN", str(ROOT / "target/release/nuthatch"))
# The Rust client's example that says which node a key belongs to.
LOCATE = os.environ.get("LOCATE_BIN", str(ROOT / "target/release/examples/locate"))
# The one that reads and writes values for tests.
EXCHANGE = os.environ.get("EXCHANGE_BIN", str(ROOT / "target/release/examples/exchange"))
PROGRAMS = {
    "nuthatch": [NUTHATCH],
    "compressing": [NUTHATCH, "--compress-min", "64"],
    "memcached": [os.environ.get("MEMCACHED_BIN", "memcached")],
}


@dataclass(frozen=True)
class Server:
    """A running daemon, in the forms in which clients want its address."""

    name: str
    port: int
    pid: int

    @property
    def endpoint(self):
        return (HOST, self.port)

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    def flush(self):
        with closing(Client(self.endpoint, default_noreply=False)) as client:
            client.flush_all()


@contextmanager
def running(name, directory, *flags, log=None):
    """Runs the daemon called `name` until the block ends; it has to be alive until then."""
    port_file = directory / "port"
    port_file.unlink(missing_ok=True)
    listen = () if "-l" in flags else ("-l", HOST)
    command = [*PROGRAMS[name], "-p", "-1", "-U", "0", *listen, "-u", "root", "-m", "64", *flags]
    # Daemons that run at the same time would want the same port for metrics.
    environment = os.environ | {
        "MEMCACHED_PORT_FILENAME": str(port_file),
        "NUTHATCH_ADMIN": "none",
    }
    process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        yield Server(name, announced_port(process, port_file), process.pid)
        assert process.poll() is None, f"{name} died with status {process.returncode}"
    finally:
        process.kill()
        process.wait()


def announced_port(process, port_file):
    deadline = time.monotonic() + START_SECONDS_MAX
    while not port_file.exists():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{process.args} did not name its port"
        time.sleep(0.01)
    for line in port_file.read_text().splitlines():
        if line.startswith("TCP INET: "):
            return int(line.removeprefix("TCP INET: "))
    raise AssertionError(f"no TCP port in {port_file}")
