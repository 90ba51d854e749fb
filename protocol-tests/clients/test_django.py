"""A small Django site: its own tests, unchanged, with each of Django's two memcached backends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "django"


@pytest.mark.parametrize("backend", ["PyMemcacheCache", "PyLibMCCache"])
def test_the_tests_of_the_django_project_pass(server, backend):
    command = [sys.executable, "manage.py", "test"]
    environment = os.environ | {"CACHE_BACKEND": backend, "CACHE_LOCATION": server.address}
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Ran 0 tests" not in result.stderr
