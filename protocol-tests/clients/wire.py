"""A connection on which tests say themselves what is sent."""

import re
import socket
import time
from base64 import b64encode
from dataclasses import dataclass

REPLY_SECONDS_MAX = 60
# More seconds than these would be a Unix time.
EXPTIME_RELATIVE_MAX = 30 * 24 * 60 * 60


@dataclass(frozen=True)
class Item:
    """What a server keeps of a key; `ttl` None is for ever."""

    value: bytes
    flags: int = 0
    ttl: int | None = None


def is_text(key):
    return not re.search(rb"[ \r\n]", key)


def exptime(ttl):
    ttl = ttl or 0
    return ttl if ttl <= EXPTIME_RELATIVE_MAX else int(time.time()) + ttl


class Wire:
    def __init__(self, address):
        self.socket = socket.create_connection(address, REPLY_SECONDS_MAX)
        self.file = self.socket.makefile("rb")

    def line(self):
        return self.file.readline().removesuffix(b"\n").removesuffix(b"\r")

    def ask(self, request):
        """The first line of the answer."""
        self.socket.sendall(request + b"\r\n")
        return self.line()

    def stats(self):
        self.socket.sendall(b"stats\r\n")
        lines = iter(self.line, b"END")
        return dict(line.decode().split(" ", 2)[1:] for line in lines)

    def store(self, items):
        """Stores all, in one go."""
        requests = []
        for key, item in items.items():
            name, encoding = (key, b"") if is_text(key) else (b64encode(key), b" b")
            head = b"ms %s %d F%d T%d" % (name, len(item.value), item.flags, exptime(item.ttl))
            requests.append(head + encoding + b" q\r\n" + item.value + b"\r\n")
        self.socket.sendall(b"".join(requests) + b"mn\r\n")
        assert self.line() == b"MN"

    def fetch(self, key):
        """The item of the key, or None."""
        name, encoding = (key, b"") if is_text(key) else (b64encode(key), b" b")
        head, *flags = self.ask(b"mg %s v f t%s" % (name, encoding)).split()
        if head == b"EN":
            return None
        assert head == b"VA", head
        value = self.file.read(int(flags[0]))
        assert self.file.read(2) == b"\r\n"
        client_flags, ttl = int(flags[1][1:]), int(flags[2][1:])
        return Item(value, client_flags, None if ttl < 0 else ttl)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()
