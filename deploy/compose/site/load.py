#!/usr/bin/env python3
"""Visitors for the shop: few articles are read by many, most by few. Ends by itself, or at SIGINT or SIGTERM."""

import argparse
import http.client
import random
import signal
import sys
import threading
import time
import urllib.parse

ARTICLES = 2000
BASKET_SHARE = 0.1
FRONT_SHARE = 0.2
RETRY_SECONDS = 1


class Visitor(threading.Thread):
    """Reads pages over one connection, with a session of its own."""

    def __init__(self, address, until):
        super().__init__()
        self.address, self.until = address, until
        self.pages, self.failures, self.cookie = 0, 0, ""

    def run(self):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        while not self.until():
            try:
                self.read(connection)
            except (OSError, http.client.HTTPException):
                self.failures += 1
                connection.close()
                time.sleep(RETRY_SECONDS)
        connection.close()

    def read(self, connection):
        connection.request("GET", self.path(), headers={"Cookie": self.cookie})
        response = connection.getresponse()
        response.read()
        if cookie := response.getheader("Set-Cookie"):
            self.cookie = cookie.split(";")[0]
        if response.status == 200:
            self.pages += 1
        else:
            self.failures += 1

    def path(self):
        choice = random.random()
        if choice < BASKET_SHARE:
            return "/basket/"
        if choice < BASKET_SHARE + FRONT_SHARE:
            return "/"
        # Each tenfold of the numbers is read as often as the one before.
        return f"/article/{int(ARTICLES ** random.random())}/"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", help="http://HOST:PORT")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="default: for ever")
    parser.add_argument("--visitors", type=int, default=4)
    options = parser.parse_args()

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    end = time.monotonic() + options.seconds
    address = urllib.parse.urlsplit(options.site).netloc
    visitors = [
        Visitor(address, lambda: ended.is_set() or time.monotonic() > end)
        for _ in range(options.visitors)
    ]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    pages = sum(visitor.pages for visitor in visitors)
    failures = sum(visitor.failures for visitor in visitors)
    print(f"{pages} pages, {failures} failures")
    return 1 if failures or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
