"""A nuthatch with an admin listener, and what that tells."""

import json
import re
import time
import urllib.request
from contextlib import contextmanager

from servers import START_SECONDS_MAX, running

# In the log.
ADDRESS = re.compile(r"admin=Some\((.+?)\)")


class Admin:
    """A running daemon, and its admin listener."""

    def __init__(self, server, url):
        self.server = server
        self.url = url

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return response.read().decode()

    def stats(self):
        return json.loads(self.get("/api/v1/stats"))


@contextmanager
def administered(directory, *flags):
    """Runs nuthatch with an admin listener until the block ends."""
    with open(directory / "log", "w+") as log:
        with running("nuthatch", directory, "--admin", "127.0.0.1:0", *flags, log=log) as server:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not (address := ADDRESS.search((directory / "log").read_text())):
                assert time.monotonic() < deadline, "the log does not name the admin address"
                time.sleep(0.01)
            yield Admin(server, f"http://{address[1]}")
