"""deploy/nginx.conf.template before two real servers; tests/acceptance/test_team_proxy.py walks runs through it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from daglens.config.settings import Limits, Live
from daglens.resolvers.limits import MAX_WAIT_S
from daglens.server.settings import ServerSettings
from tests.acceptance.programs import Serve, Server, servers
from tests.deploy.nginx import filled, nginx, write

VERSION = {"query": "{ version }"}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers; they end after the test."""
    with servers(tmp_path) as start:
        yield start


def two(serve: Serve, home: Path, *options: str) -> list[Server]:
    home.mkdir(exist_ok=True)
    return [serve(home, *options) for _ in range(2)]


def test_timeouts_are_longer_than_the_servers_own() -> None:
    """nginx cuts nothing that a server is still going to answer, and lets it refuse large bodies in its own words."""
    conf = filled(dict.fromkeys(("DAGLENS_LISTEN", "DAGLENS_SERVERS", "DAGLENS_PREFIX", "DAGLENS_TLS"), ""))
    assert "proxy_read_timeout 75s;" in conf
    assert max(Limits().max_operation_s, MAX_WAIT_S, Live().ping_interval_s) < 75
    assert "client_max_body_size 17m;" in conf
    assert Limits().max_body_bytes < 17 * 2**20


@pytest.mark.system
@pytest.mark.parametrize(
    ("listen", "tls"), [("8080", ""), ("443 ssl", "ssl_certificate chain.pem; ssl_certificate_key key.pem;")]
)
def test_nginx_takes_it(listen: str, tls: str, tmp_path: Path) -> None:
    """`nginx -t` finds no mistake, with a prefix and without, with TLS and without."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*made, "-keyout", "key.pem", "-out", "chain.pem"], cwd=tmp_path, check=True, capture_output=True)
    for prefix in ("", "/daglens"):
        conf = filled(
            {
                "DAGLENS_LISTEN": listen,
                "DAGLENS_SERVERS": "server 127.0.0.1:3000 fail_timeout=2s; server 127.0.0.1:3001;",
                "DAGLENS_PREFIX": prefix,
                "DAGLENS_TLS": tls,
            }
        )
        done = subprocess.run([*write(tmp_path, conf), "-t"], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr


@pytest.mark.system
@pytest.mark.parametrize("prefix", ["", "/team/daglens"])
def test_pages_and_refusals(prefix: str, serve: Serve, tmp_path: Path) -> None:
    """Through nginx, at the root or below a path: GraphiQL and its files, queries from its own page and not from
    another's, and a body above the limit refused by the server's own words."""
    running = two(serve, tmp_path / "home")
    with nginx([server.url for server in running], prefix=prefix) as url, httpx.Client(timeout=60) as http:
        page = http.get(f"{url}/graphiql")
        assert page.status_code == 200
        assert http.get(f"{url}/graphiql/assets/graphiql.min.js").status_code == 200
        own = url.removesuffix(prefix)
        assert http.post(f"{url}/graphql", json=VERSION, headers={"origin": own}).json()["data"]["version"]
        for strange in ("http://127.0.0.1:9", "https://example.org"):
            assert http.post(f"{url}/graphql", json=VERSION, headers={"origin": strange}).status_code == 403
        large = b" " * (Limits().max_body_bytes + 1)
        refused = http.post(f"{url}/graphql", content=large, headers={"content-type": "application/json"})
        assert refused.status_code == 413
        assert "BODY_TOO_LARGE" in refused.text
        if prefix:
            # As behind a published port of a container: nginx doesn't know by which port it is reached.
            sent_on = http.get(url, headers={"host": "lens.example.org:9000"})
            assert (sent_on.status_code, sent_on.headers["location"]) == (301, f"{prefix}/")


@pytest.mark.system
def test_a_server_that_is_gone(serve: Serve, tmp_path: Path) -> None:
    """With one of two servers killed, queries and mutations are answered by the other, all of them."""
    running = two(serve, tmp_path / "home")
    with nginx([server.url for server in running]) as url, httpx.Client(timeout=60) as http:
        running[0].kill()
        answers = [http.post(f"{url}/graphql", json=VERSION) for _ in range(20)]
        assert [answer.status_code for answer in answers] == [200] * 20


@pytest.mark.system
def test_what_clients_claim(serve: Serve, tmp_path: Path) -> None:
    """A user name that a client sends is taken away, though the server trusts nginx's."""
    home = tmp_path / "home"
    home.mkdir()
    access = {
        "trusted_header": "X-Forwarded-User",
        "trusted_proxies": ["127.0.0.1/32"],
        "trusted_roles": {"*": "admin"},
    }
    (home / "dagster.yaml").write_text(json.dumps({"daglens": {"access": access}}))
    (server,) = (serve(home),)
    claimed = {"x-forwarded-user": "alice"}
    assert httpx.post(f"{server.url}/graphql", json=VERSION, headers=claimed).status_code == 200
    # /readyz is open to all.
    with nginx([server.url]) as url:
        assert httpx.post(f"{url}/graphql", json=VERSION, headers=claimed).status_code == 401


def test_pings_come_in_time() -> None:
    """An idle socket is heard long before nginx's patience ends."""
    assert ServerSettings().ping_interval_s * 5 < 75
