#!/usr/bin/env python3
"""Runs Django's commands for this project; `manage.py test` is the one that matters here.

CACHE_BACKEND is PyMemcacheCache or PyLibMCCache, CACHE_LOCATION the server as host:port.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)
