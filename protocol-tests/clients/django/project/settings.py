"""A site without a database: sessions, pages and fragments live in the cache only."""

import os

SECRET_KEY = "only used by the tests"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["pages"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

SERVER = {
    "BACKEND": f"django.core.cache.backends.memcached.{os.environ['CACHE_BACKEND']}",
    "LOCATION": os.environ["CACHE_LOCATION"],
}
CACHES = {
    "default": SERVER,
    "neighbour": SERVER | {"KEY_PREFIX": "neighbour", "VERSION": 7, "TIMEOUT": None},
}
