"""The Debian package as src/server/Cargo.toml describes it, and deploy/debian/build builds it."""

import tomllib
from pathlib import PurePath

import pytest

from servers import ROOT

SERVER = ROOT / "src/server"
UNITS = ROOT / "deploy/systemd"


@pytest.fixture
def package():
    return tomllib.loads((SERVER / "Cargo.toml").read_text())["package"]["metadata"]["deb"]


def test_it_stands_beside_memcacheds_and_starts_nothing(package):
    relations = {"depends", "pre-depends", "conflicts", "breaks", "replaces", "provides"}
    assert not relations & package.keys()
    units = package["systemd-units"]
    assert (units["enable"], units["start"]) == (False, False)


def test_what_it_packs_is_there_or_is_built(package):
    build = (ROOT / "deploy/debian/build").read_text()
    for source, _, _ in package["assets"]:
        built = "/" + PurePath(source).name in build
        assert (
            built if source.startswith("target/release/") else (SERVER / source).is_file()
        ), source
    for place in (package["license-file"][0], package["systemd-units"]["unit-scripts"]):
        assert (SERVER / place).exists(), place


def test_its_files_are_where_the_units_look_for_them(package):
    places = {}
    for source, place, _ in package["assets"]:
        name = PurePath(source).name if place.endswith("/") else ""
        places["/" + place + name] = source
    (configuration,) = package["conf-files"]
    start = f"ExecStart=/usr/bin/nuthatch --config {configuration}\n"
    assert start in (UNITS / "nuthatch.service").read_text()
    assert {
        "/usr/bin/nuthatch",
        configuration,
        "/usr/share/man/man8/nuthatch.8.gz",
    } <= places.keys()
    assert "man:nuthatch(8)" in (UNITS / "nuthatch.service").read_text()
