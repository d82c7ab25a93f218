"""Servers, as the tests of `tests/server` have them."""

from tests.server.conftest import http, instance, serve, server

__all__ = ["http", "instance", "serve", "server"]
