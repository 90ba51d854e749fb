"""A site without a database: its articles cost time to write, and live in the cache."""

import os

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["*"]  # It runs on the operator's own machine.
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
INSTALLED_APPS = ["shop"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        # Every process has to have the same nodes in the same order, so that all look for a key in the same place.
        "LOCATION": os.environ["CACHE_NODES"].split(","),
        "KEY_PREFIX": "shop",
        "OPTIONS": {
            "no_delay": True,
            "connect_timeout": 1,
            "timeout": 1,
            # A node that is down is a miss, not an error page.
            "ignore_exc": True,
            "use_pooling": True,
        },
    }
}
