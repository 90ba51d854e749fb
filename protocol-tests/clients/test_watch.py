"""What watch tells, with nuthatch and with memcached; its limits are in protocol-tests/tests/watch.rs."""

import re
import socket
from contextlib import closing

import pytest

PATIENCE_SECONDS = 60
VARYING = re.compile(rb"(ts|gid|cfd|rport)=[0-9.]+ ?")


class Watcher:
    """A connection that watches, and forgets of each line what no two runs have in common."""

    def __init__(self, server, streams):
        self.socket = socket.create_connection(server.endpoint, PATIENCE_SECONDS)
        self.lines = self.socket.makefile("rb")
        self.socket.sendall(b"watch %s\r\n" % streams)
        assert self.lines.readline() == b"OK\r\n"

    def next(self, having=b""):
        """The next line that has this."""
        for line in self.lines:
            if having in line:
                return VARYING.sub(b"", line).rstrip()

    def close(self):
        self.lines.close()
        self.socket.close()


class Asker:
    def __init__(self, server):
        self.socket = socket.create_connection(server.endpoint, PATIENCE_SECONDS)

    def ask(self, request, end=b"\r\n"):
        self.socket.sendall(request)
        received = b""
        while not received.endswith(end):
            received += self.socket.recv(65536)
        return received

    def close(self):
        self.socket.close()


def test_fetchers(server):
    with closing(Asker(server)) as asker:
        asker.ask(b"set a 0 0 3\r\nabc\r\n")
        asker.ask(b"set k%20\xc3\xa9 0 0 1\r\nx\r\n")
        with closing(Watcher(server, b"fetchers")) as watcher:
            for request, end in [
                (b"get a\r\n", b"END\r\n"),
                (b"gat 0 a\r\n", b"END\r\n"),
                (b"mg a\r\n", b"\r\n"),
                (b"mg a v\r\n", b"abc\r\n"),
                (b"gets a\r\n", b"END\r\n"),
            ]:
                asker.ask(request, end)
                assert watcher.next() == b"type=item_get key=a status=found clsid=1 size=3", request
            asker.ask(b"get zz\r\n", b"END\r\n")
            assert watcher.next() == b"type=item_get key=zz status=not_found clsid=0 size=0"
            asker.ask(b"get k%20\xc3\xa9\r\n", b"END\r\n")
            assert watcher.next() == b"type=item_get key=k%2520%C3%A9 status=found clsid=1 size=1"


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (b"set a 0 100 3\r\nabc\r\n", b"key=a status=stored cmd=set ttl=100 clsid=1 size=3"),
        (b"ms m 2 T30 ME\r\nxx\r\n", b"key=m status=stored cmd=add ttl=30 clsid=1 size=2"),
        (b"add there 0 0 1\r\nx\r\n", b"key=there status=not_stored cmd=add ttl=0 clsid=1 size=1"),
        (b"cas there 0 0 1 99999\r\nx\r\n", b"key=there status=exists cmd=cas ttl=0 clsid=1 size=1"),
        (b"replace zz 0 0 1\r\nx\r\n", b"key=zz status=not_stored cmd=replace ttl=0 clsid=1 size=1"),
        (b"set k%20\xc3\xa9 0 0 1\r\nx\r\n", b"key=k%2520%C3%A9 status=stored cmd=set ttl=0 clsid=1 size=1"),
    ],
)
def test_mutations(server, request_, told):
    with closing(Asker(server)) as asker:
        asker.ask(b"set there 0 0 1\r\nx\r\n")
        with closing(Watcher(server, b"mutations")) as watcher:
            asker.ask(request_)
            assert watcher.next() == b"type=item_store " + told


def test_connevents(server):
    with closing(Watcher(server, b"connevents")) as watcher:
        asker = Asker(server)
        # Clients of other tests may still be leaving.
        own = b"rport=%d " % asker.socket.getsockname()[1]
        assert watcher.next(own) == b"type=conn_new rip=127.0.0.1 transport=tcp"
        asker.socket.sendall(b"quit\r\n")
        assert watcher.next(own) == b"type=conn_close rip=127.0.0.1 transport=tcp reason=normal"
        asker.close()


def test_what_cannot_be_watched(server):
    with closing(Asker(server)) as asker:
        assert asker.ask(b"watch nonsense\r\n") == b"ERROR\r\n"
