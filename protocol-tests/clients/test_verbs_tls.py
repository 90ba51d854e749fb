"""The verbs at servers that want TLS, and at those that do not speak it."""

import subprocess

import pytest

from servers import NUTHATCH, running
from test_dump_load_prime import nuthatch
from test_tls import certificate, flags, openssl, pki  # noqa: F401
from verbs import documents, run


@pytest.fixture(scope="module")
def secured(pki, tmp_path_factory):  # noqa: F811
    with running("nuthatch", tmp_path_factory.mktemp("secured"), "-A", *flags(pki)) as server:
        yield server


@pytest.fixture(scope="module")
def trusted(pki):  # noqa: F811
    return ["--tls", "--cacert", f"{pki}/ca.pem"]


def refused(result, *parts):
    """Nothing is done, and it is said what to do."""
    code, out, errors = result
    assert (code, out, len(errors.splitlines())) == (69, "", 1)
    for part in parts:
        assert part in errors


def test_each_verb_speaks_tls(secured, trusted):
    def ask(*arguments, **options):
        return run(*arguments, *trusted, server=secured, **options)

    large = "v" * 700_000
    assert ask("set", "large", input=large) == (0, "stored\n", "")
    assert ask("get", "large") == (0, large, "")
    assert ask("set", "number", "41")[0] == 0
    assert ask("incr", "number")[:2] == (0, "42\n")
    assert ask("decr", "number", "2")[:2] == (0, "40\n")
    assert ask("touch", "number", "60s")[0] == 0
    assert "is 1.6." in ask("ping")[1]
    assert sorted(ask("keys")[1].split()) == ["large", "number"]
    [settings] = documents("stats", "settings", "--json", *trusted, server=secured)[0]["servers"]
    assert settings["stats"]["ssl_enabled"] == "yes"
    [told] = documents("top", "--count", "1", *trusted, server=secured)[0]["servers"]
    assert told["items"] == 2
    assert "timing" in ask("doctor")[1]
    assert "--show-keys" in ask("hot")[2]
    dumped = nuthatch("dump", *trusted, "--server", secured.address)
    assert ask("delete", "number")[0] == 0
    assert nuthatch("load", *trusted, "--server", secured.address, input=dumped.stdout).returncode == 0
    assert ask("get", "number")[:2] == (0, "40")
    assert ask("drain")[0] == ask("drain", "--off")[0] == 0
    assert ask("flush", "--yes")[0] == 0
    assert ask("get", "number")[0] == 1


def test_a_server_is_primed_over_tls(secured, trusted, pki, tmp_path):  # noqa: F811
    with running("nuthatch", tmp_path, *flags(pki)) as other:
        assert run("set", "primed", "v", *trusted, server=other)[0] == 0
        assert run("prime", "--from", other.address, *trusted, server=secured)[0] == 0
    assert run("get", "primed", *trusted, server=secured)[:2] == (0, "v")


@pytest.mark.parametrize("version", [2, 3])
def test_who_wants_to_know_who_asks_is_shown_a_certificate(pki, trusted, tmp_path, version):  # noqa: F811
    wants = flags(pki, f"ssl_ca_cert={pki}/ca.pem", "ssl_verify_mode=2", f"ssl_min_version={version}")
    with running("nuthatch", tmp_path, *wants) as server:
        for name, is_known in [("client", True), ("stranger", False)]:
            identity = ["--cert", f"{pki}/{name}.pem", "--key", f"{pki}/{name}.key"]
            result = run("ping", *trusted, *identity, server=server)
            if is_known:
                assert result[0] == 0
            else:
                refused(result, "no TLS with", "--cert FILE --key FILE")
        refused(run("ping", *trusted, server=server), "no TLS with", "--cert FILE --key FILE")


def test_a_server_that_is_not_trusted_is_not_asked(secured, trusted, pki, tmp_path):  # noqa: F811
    stranger = ["--tls", "--cacert", f"{pki}/stranger.pem"]
    refused(run("get", "k", *stranger, server=secured), "UnknownIssuer", "name the one that has who signed it")
    assert run("ping", "--tls", "--insecure", server=secured)[0] == 0
    certificate(tmp_path, "ca", None)
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=other", "-addext", "subjectAltName=DNS:other.example", "-CA", tmp_path / "ca.pem",
        "-CAkey", tmp_path / "ca.key", "-addext", "basicConstraints=critical,CA:FALSE",
        "-keyout", tmp_path / "server.key", "-out", tmp_path / "server.pem",
    )  # fmt: skip
    with running("nuthatch", tmp_path, *flags(tmp_path)) as other:
        known = ["--tls", "--cacert", f"{tmp_path}/ca.pem"]
        refused(run("ping", *known, server=other), "Name the server by --server as its certificate does")


def test_who_speaks_tls_to_who_does_not_is_told_so(secured, trusted, cache):
    refused(run("ping", *trusted, server=cache), f"no TLS with {cache.address}", "leave --tls out")
    refused(run("ping", server=secured), f"{secured.address} speaks TLS: --tls --cacert FILE")
    refused(run("get", "k", server=secured), f"{secured.address} speaks TLS: --tls --cacert FILE")
    assert run("bench", server=secured) == (64, "", "bench measures servers without TLS\n")


def test_flags_that_do_not_go_together_are_refused(pki, trusted, tmp_path):  # noqa: F811
    code, _, errors = run("ping", "--tls")
    assert (code, "--cacert FILE" in errors, "--insecure" in errors) == (64, True, True)
    for alone in (["--cacert", "x"], ["--insecure"], [*trusted, "--insecure"], [*trusted, "--cert", "x"]):
        assert run("ping", *alone)[0] == 1, alone
    (tmp_path / "empty").write_text("")
    for file, why in [("missing", "No such file"), ("empty", "there is no certificate in")]:
        code, _, errors = run("ping", "--tls", "--cacert", str(tmp_path / file))
        assert (code, why in errors, "--cacert, --cert and --key name files of PEM" in errors) == (74, True, True)


def test_what_goes_through_a_unix_socket_is_not_secured(trusted, tmp_path):
    path = tmp_path / "socket"
    server = subprocess.Popen([NUTHATCH, "-s", str(path), "-u", "root", "--admin", "none"], stderr=subprocess.DEVNULL)
    try:
        assert run("ping", "--wait", "10s", *trusted, "--server", str(path))[0] == 0
    finally:
        server.kill()
        server.wait()
