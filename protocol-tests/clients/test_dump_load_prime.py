"""`nuthatch dump`, `load` and `prime`, from and to nuthatch and memcached."""

import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from servers import HOST, NUTHATCH, announced_port, running
from wire import Item, Wire

RUN_SECONDS_MAX = 60
# A server counts whole seconds, and memcached's clock may be one behind.
TTL_SECONDS_ROUNDED = 2
DAY = 24 * 60 * 60
UNREACHABLE = "127.0.0.1:1"


def items():
    """More than 10,000 of every kind."""
    found = {}
    for number in range(10_000):
        value = b"value %d" % number * (number % 40)
        ttl = [None, 1000, 5 * DAY][number % 3]
        found[b"many:%05d" % number] = Item(value, number % 7, ttl)
    for number in range(100):
        found[b"binary %d \n\0\xff" % number] = Item(b"\r\n\0" * number, 2**32 - 1, 100 + number)
    found["späß/日本".encode()] = Item(b"text")
    found[b"k" * 250] = Item(b"longest")
    found[b"b" * 185 + b" "] = Item(b"longest in base64")
    found[b"distant"] = Item(b"more than 30 days", ttl=90 * DAY)
    found[b"empty"] = Item(b"")
    for number in range(8):
        found[b"large:%d" % number] = Item(os.urandom(1_000_000 >> number), flags=number)
    return found


def same(found, expected, seconds_passed):
    """Equal but for the seconds that have passed, and for those that servers round."""
    if found is None or found.ttl is None or expected.ttl is None:
        return found == expected
    lost = expected.ttl - found.ttl
    in_time = -TTL_SECONDS_ROUNDED <= lost <= seconds_passed + TTL_SECONDS_ROUNDED
    return in_time and replace(found, ttl=expected.ttl) == expected


def nuthatch(*arguments, **options):
    """Runs a tool; standard output is bytes, and what it says is text."""
    options = {"capture_output": True, "timeout": RUN_SECONDS_MAX} | options
    result = subprocess.run([NUTHATCH, *arguments], **options)
    result.said = (result.stderr or b"").decode()
    return result


def dump(server, *arguments):
    return nuthatch("dump", "--server", server.address, *arguments)


def load(server, text, *arguments):
    return nuthatch("load", "--server", server.address, *arguments, input=text)


def prime(source, target, *arguments):
    return nuthatch("prime", "--from", source.address, "--server", target.address, *arguments)


@pytest.fixture(scope="module")
def daemons(tmp_path_factory):
    """Two of each kind."""
    with (
        running("nuthatch", tmp_path_factory.mktemp("one")) as one,
        running("nuthatch", tmp_path_factory.mktemp("two")) as two,
        running("memcached", tmp_path_factory.mktemp("three")) as three,
        running("memcached", tmp_path_factory.mktemp("four")) as four,
    ):
        yield {"nuthatch": (one, two), "memcached": (three, four)}


@pytest.fixture(params=["nuthatch", "memcached"])
def source(request, daemons):
    server = daemons[request.param][0]
    server.flush()
    return server


@pytest.fixture(params=["nuthatch", "memcached"])
def target(request, daemons):
    server = daemons[request.param][1]
    server.flush()
    return server


@pytest.fixture
def one(daemons):
    daemons["nuthatch"][0].flush()
    return daemons["nuthatch"][0]


@pytest.fixture
def two(daemons):
    daemons["nuthatch"][1].flush()
    return daemons["nuthatch"][1]


def store(server, stored):
    """Returns when it began to."""
    began = time.monotonic()
    with Wire(server.endpoint) as wire:
        wire.store(stored)
    return began


def fetch(server, keys):
    with Wire(server.endpoint) as wire:
        return {key: wire.fetch(key) for key in keys}


def assert_has(server, expected, began):
    found = fetch(server, expected)
    passed = time.monotonic() - began
    assert [key for key in expected if not same(found[key], expected[key], passed)] == []


def test_a_dump_is_loaded_with_flags_expiry_and_binary_keys(source, target):
    expected = items()
    began = store(source, expected)
    dumped = dump(source)
    assert (dumped.returncode, f"dumped {len(expected)} items" in dumped.said) == (0, True)
    loaded = load(target, dumped.stdout)
    assert loaded.said == f"added {len(expected)} items to {target.address}\n"
    assert loaded.returncode == 0
    assert_has(target, expected, began)


def test_a_server_is_primed_with_flags_expiry_and_binary_keys(source, target):
    expected = items()
    began = store(source, expected)
    primed = prime(source, target)
    assert f"added {len(expected)} items to {target.address}\n" in primed.said
    assert primed.returncode == 0
    assert_has(target, expected, began)
    again = prime(source, target)
    assert f"added 0 items to {target.address}; {len(expected)} left as they were" in again.said


def test_how_a_key_travelled_is_kept(source, target):
    """A key that came in base64 though it need not have is told so."""
    with Wire(source.endpoint) as wire:
        wire.store({b"plain": Item(b"1")})
        assert wire.ask(b"ms cGxhaW5lcg== 1 b\r\n2") == b"HD"
    assert prime(source, target).returncode == 0
    with Wire(target.endpoint) as wire:
        assert wire.ask(b"mg plain k") == b"HD kplain"
        assert wire.ask(b"mg plainer k") == b"HD kcGxhaW5lcg== b"


def test_what_the_target_has_stays(source, target):
    began = store(source, {b"k": Item(b"old"), b"other": Item(b"1")})
    store(target, {b"k": Item(b"new", flags=3)})
    for result in [prime(source, target), load(target, dump(source).stdout)]:
        assert (result.returncode, "left as they were" in result.said) == (0, True)
        assert_has(target, {b"k": Item(b"new", flags=3), b"other": Item(b"1")}, began)


def test_what_expires_before_it_is_loaded_stays_out(source, target, soon):
    # A busy machine may not have read it before it expires.
    for ttl in (2, 4, 8, 16):
        store(source, {b"short": Item(b"1", ttl=ttl), b"long": Item(b"2", ttl=1000)})
        dumped = dump(source)
        if "dumped 2 items" in dumped.said:
            break
    assert "dumped 2 items" in dumped.said
    deadline = time.time() + ttl
    assert soon(lambda: time.time() > deadline)
    loaded = load(target, dumped.stdout)
    assert loaded.said == f"added 1 items to {target.address}; 1 expired, left out\n"
    assert (loaded.returncode, fetch(target, [b"short"])) == (0, {b"short": None})


def test_the_source_does_not_notice(source):
    """Neither what is used nor who shall make a stale item anew."""
    store(source, {b"unused": Item(b"1"), b"un used": Item(b"1")})
    store(source, {b"stale": Item(b"2"), b"binary \n": Item(b"3")})
    with Wire(source.endpoint) as wire:
        assert wire.ask(b"mg made-anew N100") == b"HD W"
        assert wire.ask(b"md stale I T100") == b"HD"
        assert wire.ask(b"md YmluYXJ5IAo= b I") == b"HD"
        dumped = dump(source)
        assert "dumped 2 items (15 bytes)" in dumped.said
        assert "3 stale or being made anew, left out" in dumped.said
        assert dumped.returncode == 0
        assert wire.ask(b"mg unused h") == b"HD h0"
        assert wire.ask(b"mg dW4gdXNlZA== b h") == b"HD h0"
        line = wire.ask(b"mg stale t")
        assert re.fullmatch(rb"HD t(100|9\d) (X W|W X)", line), line
        assert sorted(wire.ask(b"mg YmluYXJ5IAo= b").split()) == [b"HD", b"W", b"X"]
        # Now somebody has been chosen, and stays so.
        assert "3 stale" in dump(source).said
        assert sorted(wire.ask(b"mg stale").split()) == [b"HD", b"X", b"Z"]


def test_damage_costs_what_is_damaged_and_is_told(one, two):
    expected = {b"k%d" % number: Item(b"%d" % number * 5000) for number in range(100)}
    store(one, expected)
    whole = dump(one).stdout
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged, what in [
        (bytes(flipped), "; 1 blocks lost"),
        (whole[: len(whole) // 2], "; the end of the dump is missing"),
        (whole[: len(whole) // 3] + whole[len(whole) // 2 :], " blocks lost"),
        (b"rubbish" + whole, "; 7 bytes damaged"),
        (b"", "; the end of the dump is missing"),
        (b"set a 0 0 1\r\na\r\n", "; 16 bytes damaged; the end of the dump is missing"),
    ]:
        two.flush()
        loaded = load(two, damaged)
        assert (loaded.returncode, what in loaded.said) == (65, True), loaded.said
        found = {key: item for key, item in fetch(two, expected).items() if item is not None}
        count = int(re.search(r"added (\d+) items", loaded.said)[1])
        assert len(found) == count
        assert all(expected[key] == item for key, item in found.items())
        if damaged == bytes(flipped):
            assert 0 < len(expected) - count < 20


def test_a_dump_that_was_cut_off_can_be_loaded(one, two, tmp_path):
    died = pytest.raises(AssertionError, match="died with status -9")
    with died, running("nuthatch", tmp_path) as mortal:
        store(mortal, {b"k%d" % number: Item(b"1" * 1000) for number in range(1000)})
        process = subprocess.Popen(
            [NUTHATCH, "dump", "--server", mortal.address, "--rate", "300k"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun = process.stdout.read(100_000)
        os.kill(mortal.pid, signal.SIGKILL)
        rest, said = process.communicate(timeout=RUN_SECONDS_MAX)
        assert process.returncode == 69
        assert f"lost {mortal.address}" in said.decode()
        loaded = load(two, begun + rest)
        assert loaded.returncode == 65
        assert "the end of the dump is missing" in loaded.said
        assert int(re.search(r"added (\d+) items", loaded.said)[1]) > 0


@pytest.mark.parametrize("verb", ["dump", "load", "prime"])
def test_a_rate_holds_the_copying_back(one, two, verb):
    """At a rate that takes minutes, a tool is at work when others have done ten times as much."""
    store(one, {b"k%d" % number: Item(b"1" * 1000) for number in range(4000)})
    dumped = dump(one).stdout if verb == "load" else b""
    server = one if verb == "dump" else two
    command = [NUTHATCH, verb, "--server", server.address, "--rate", "40k"]
    command += ["--from", one.address] if verb == "prime" else []
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(command, **streams, stderr=subprocess.DEVNULL)
    feeding = threading.Thread(target=feed, args=(process.stdin, dumped))
    feeding.start()
    try:
        for _ in range(10):
            two.flush()
            assert "added" in prime(one, two).said
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        feeding.join()


def test_a_slow_copy_keeps_no_client_of_the_source_waiting(source, two, soon):
    """memcached holds a lock while whoever reads its list lags behind."""
    stored = {b"k" * 240 + b"%010d" % number: Item(b"1") for number in range(40_000)}
    store(source, stored)
    command = [NUTHATCH, "prime", "--from", source.address, "--server", two.address]
    process = subprocess.Popen([*command, "--rate", "20k"], stderr=subprocess.DEVNULL)
    try:
        with Wire(two.endpoint) as wire:
            assert soon(lambda: int(wire.stats()["total_items"]) > 0)
        assert list(fetch(source, stored).values()) == list(stored.values())
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def feed(pipe, text):
    try:
        with pipe:
            pipe.write(text)
    except BrokenPipeError:
        pass


@contextmanager
def without_meta(server):
    """A way to the server on which `mn` is no command, as before memcached 1.6."""
    listener = socket.create_server((HOST, 0))

    def forward(reader, writer):
        try:
            while data := reader.recv(65536):
                writer.sendall(data)
        except OSError:
            pass
        finally:
            for end in (reader, writer):
                end.close()

    def serve():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(server.endpoint)
            if client.recv(65536, socket.MSG_PEEK) == b"mn\r\n":
                client.recv(4)
                client.sendall(b"ERROR\r\n")
            for pair in [(client, upstream), (upstream, client)]:
                threading.Thread(target=forward, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield replace(server, port=listener.getsockname()[1])
    finally:
        listener.close()


def test_a_server_without_meta_commands_is_read_and_written(source, target):
    expected = {b"k%d" % number: Item(b"%d" % number, number, 1000) for number in range(2000)}
    expected[b"distant"] = Item(b"more than 30 days", ttl=90 * DAY)
    expected[b"for ever".replace(b" ", b"-")] = Item(b"1" * 100_000)
    began = store(source, expected)
    with without_meta(source) as old_source, without_meta(target) as old_target:
        assert prime(old_source, old_target).returncode == 0
        assert_has(target, expected, began)
        store(target, {b"k0": Item(b"newer")})
        assert "added 0 items" in prime(old_source, old_target).said
        assert_has(target, expected | {b"k0": Item(b"newer")}, began)
        store(source, {b"a binary key": Item(b"1")})
        primed = prime(old_source, target)
        assert primed.returncode == 65
        assert "1 could not be read, the first one a binary key: its key needs" in primed.said
        primed = prime(source, old_target)
        assert "; 1 refused, the first one a binary key: its key needs base64" in primed.said
        assert primed.returncode == 65


def test_what_does_not_fit_is_told(source, tmp_path):
    store(source, {b"large": Item(b"1" * 600_000), b"small": Item(b"2")})
    for name in ["nuthatch", "memcached"]:
        (tmp_path / name).mkdir()
        with running(name, tmp_path / name, "-I", "512k") as narrow:
            primed = prime(source, narrow)
            refused = "1 refused, the first one large: SERVER_ERROR object too large for cache"
            assert (primed.returncode, refused in primed.said) == (65, True), primed.said
            assert fetch(narrow, [b"small"]) == {b"small": Item(b"2")}


def test_a_tool_has_memory_for_a_batch_and_not_for_the_cache(one, two):
    store(one, {b"k%d" % number: Item(os.urandom(100_000)) for number in range(400)})
    command = [NUTHATCH, "prime", "--from", one.address, "--server", two.address]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max([peak, *map(int, re.findall(r"VmHWM:\s*(\d+) kB", status))])
        time.sleep(0.001)
    assert process.returncode == 0
    assert 0 < peak < 20 * 1024, "KiB"


def test_a_crawler_that_may_not_list_is_told_how_to(tmp_path):
    for name in ["nuthatch", "memcached"]:
        (tmp_path / name).mkdir()
        with running(name, tmp_path / name, "-X") as closed:
            result = dump(closed)
            assert (result.returncode, "was started with -X" in result.said) == (69, True)
        with running(name, tmp_path / name) as server:
            with Wire(server.endpoint) as wire:
                assert wire.ask(b"lru_crawler disable") == b"OK"
            result = dump(server)
            assert (result.returncode, "`lru_crawler enable`" in result.said) == (69, True)


@pytest.mark.parametrize("name", ["nuthatch", "memcached"])
def test_a_server_that_wants_a_login_gets_it(name, one, tmp_path):
    store(one, {b"k%d" % number: Item(b"1" * 100) for number in range(1000)})
    logins = tmp_path / "logins"
    logins.write_text("user:password\nother:one\n")
    (tmp_path / "wrong").write_text("user:wrong\n")
    with running(name, tmp_path, "-Y", str(logins)) as closed:
        for arguments, code, said in [
            ([], 69, "it wants a login: --auth-file names a file that has it"),
            (["--auth-file", tmp_path / "wrong"], 69, "it refuses the login"),
            (["--auth-file", tmp_path / "none"], 74, "cannot read the login (--auth-file)"),
            (["--auth-file", logins], 0, "added 1000 items"),
            (["--auth-file", logins], 0, "1000 left as they were"),
        ]:
            result = prime(one, closed, *arguments)
            assert (result.returncode, said in result.said) == (code, True), result.said
        assert "dumped 1000 items" in dump(closed, "--auth-file", logins).said
        # Who wants no login gets none, nor an item that looks like one.
        assert "dumped 1000 items" in dump(one, "--auth-file", logins).said
        assert fetch(one, [b"login"]) == {b"login": None}


def test_errors_say_what_to_do(one):
    lone = {key: value for key, value in os.environ.items() if key != "MEMCACHED_SERVERS"}
    several = lone | {"MEMCACHED_SERVERS": "a:1,b:2"}
    for arguments, environment, code, advice in [
        (["dump", "--server", UNREACHABLE], lone, 69, "Is the server running?"),
        (["load"], lone | {"MEMCACHED_SERVERS": UNREACHABLE}, 69, "Is the server running?"),
        (["dump"], several, 1, "name the one that is meant by --server"),
        (["prime"], lone, 1, "--from"),
        (["prime", "--from", "a", "--server", "a:11211"], lone, 64, "the same server"),
        (["dump", "--rate", "0"], lone, 1, "bytes per second above 0"),
        (["dump", "--server", "a:b"], lone, 1, "invalid digit"),
        (["load", "--servers", "a"], lone, 1, "--server"),
    ]:
        result = nuthatch(*arguments, env=environment, input=b"")
        assert (result.returncode, advice in result.said) == (code, True), result.said
    with open("/dev/full", "wb") as full:
        store(one, {b"k": Item(b"1")})
        command = ["dump", "--server", one.address]
        result = nuthatch(*command, stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert (result.returncode, "cannot write the dump" in result.said) == (74, True)
    assert nuthatch("load", "--help").returncode == 0


def test_a_list_of_keys_that_cannot_be_kept_is_told(one, two):
    store(one, {b"k" * 240 + b"%010d" % number: Item(b"1") for number in range(70_000)})
    command = ["prime", "--from", one.address, "--server", two.address]
    result = nuthatch(*command, env=os.environ | {"TMPDIR": "/nowhere"})
    assert (result.returncode, "TMPDIR may name another folder" in result.said) == (74, True)
    assert "added 70000 items" in nuthatch(*command).said


def on_terminal(command, streams, **others):
    """What the command writes to a terminal, and how it ends."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"}
    others |= {name: theirs for name in streams}
    process = subprocess.Popen(command, env=environment, **others)
    os.close(theirs)
    written = b""
    try:
        while data := os.read(ours, 65536):
            written += data
    except OSError:
        pass  # Linux says so that the other end is closed.
    finally:
        os.close(ours)
    return written.decode(), process.wait(RUN_SECONDS_MAX)


def test_a_terminal_gets_progress_but_no_dump(one, two, tmp_path):
    store(one, {b"k%d" % number: Item(b"1" * 1000) for number in range(1000)})
    command = [NUTHATCH, "dump", "--server", one.address]
    written, code = on_terminal(command, streams=["stdout", "stderr"])
    assert (code, "nuthatch dump > file" in written) == (64, True)
    written, code = on_terminal([NUTHATCH, "load"], streams=["stdin", "stderr"])
    assert (code, "nuthatch load < file" in written) == (64, True)
    filled = tmp_path / "dump"
    filled.write_bytes(dump(one).stdout)
    with filled.open("rb") as text:
        command = [NUTHATCH, "load", "--server", two.address]
        written, code = on_terminal(command, streams=["stderr"], stdin=text)
    assert (code, bool(re.search(r" [1-9]\d* items", written))) == (0, True)
    command = [NUTHATCH, "prime", "--from", one.address, "--server", two.address]
    written, code = on_terminal(command, streams=["stderr"])
    assert (code, bool(re.search(r" [1-9]\d*/\d+ items", written))) == (0, True)
    # Elsewhere there is one line, without what moves a terminal's cursor.
    assert re.fullmatch(r"[ -~]*\n", prime(one, two).said)


def test_memcached_has_no_tools(tmp_path):
    """Under its name, and for words that are no verbs, the daemon starts."""
    link = tmp_path / "memcached"
    link.symlink_to(NUTHATCH)
    for command in [[link, "dump"], [NUTHATCH, "foo"]]:
        port_file = tmp_path / "port"
        port_file.unlink(missing_ok=True)
        environment = os.environ | {"MEMCACHED_PORT_FILENAME": str(port_file)}
        line = [*command, "-p", "-1", "-l", HOST, "-u", "root"]
        process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert announced_port(process, port_file)
        finally:
            process.kill()
            process.wait()
