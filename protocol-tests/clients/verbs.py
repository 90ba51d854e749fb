"""Runs the verbs of nuthatch, with and without a terminal."""

import fcntl
import json
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import threading
import time
from contextlib import contextmanager

from servers import HOST, NUTHATCH
from wire import Wire

RUN_SECONDS_MAX = 60
UNREACHABLE = "127.0.0.1:1"


def run(*arguments, server=None, **options):
    """Exit code, standard output and standard error of a verb."""
    environment = {"PATH": os.environ["PATH"]} | options.pop("env", {})
    if server is not None:
        environment["MEMCACHED_SERVERS"] = getattr(server, "address", server)
    options = {"input": "", "capture_output": True, "timeout": RUN_SECONDS_MAX} | options
    result = subprocess.run([NUTHATCH, *arguments], text=True, env=environment, **options)
    return result.returncode, result.stdout, result.stderr


def documents(*arguments, **options):
    """The JSON documents that a verb prints, one a line."""
    code, out, errors = run(*arguments, **options)
    assert (code, errors) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [document["schema"] for document in found] == [1] * len(found)
    return found


@contextmanager
def scripted(answers):
    """A server that knows meta commands and answers these to everything else; `ERROR` to what is not there."""
    listener = socket.create_server((HOST, 0))

    def serve(client):
        with client, client.makefile("rwb") as stream:
            for line in stream:
                request = line.decode().strip()
                answer = "MN\r\n" if request == "mn" else answers.get(request, "ERROR\r\n")
                stream.write(answer.encode())
                stream.flush()

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"{HOST}:{listener.getsockname()[1]}"
    finally:
        listener.close()


def version(server):
    with Wire(server.endpoint) as wire:
        return wire.ask(b"version").decode().removeprefix("VERSION ")


def at_terminal(arguments, typed="", columns=80, lines=24, enough=None):
    """Exit code and all that is on a terminal of this size; `enough` ends the wait before `typed` is typed."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        os.environ.pop("MEMCACHED_SERVERS", None)
        os.execve(NUTHATCH, [NUTHATCH, *arguments], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    said, deadline = b"", time.monotonic() + RUN_SECONDS_MAX
    if enough is None:
        os.write(terminal, typed.encode())
        typed = ""
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        try:
            said += os.read(terminal, 65536) if ready else b""
        except OSError:
            break
        if typed and enough in said.decode(errors="replace"):
            os.write(terminal, typed.encode())
            typed = ""
    _, status = os.waitpid(process_id, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said.decode(errors="replace")
