"""Who may speak with the server: by Host and by Origin, on every route."""

from __future__ import annotations

from http.client import HTTPConnection

import httpx
import pytest

from daglens.server.access import Address, address, is_loopback
from daglens.server.serve import InsecureBinding, check_binding
from daglens.server.settings import InvalidServerSetting, ServerSettings
from daglens.testing.server import LiveServer
from tests.server.conftest import Serve

QUERY = b'{"query": "{ version }"}'
ROUTES = ("/", "/graphiql", "/graphql?query={version}", "/schema.graphql", "/healthz", "/readyz", "/runs/a/artifacts/b")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "", "a@127.0.0.1", "x/y"]
)
def test_foreign_hosts(shared_http: httpx.Client, path: str, host: str) -> None:
    """Under a foreign name (DNS rebinding) nothing is answered, whatever the route."""
    answer = shared_http.get(path, headers={"host": host})
    assert answer.status_code in (400, 403)
    if answer.status_code == 403:
        assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.8.9.1:3000", "[::1]:3000", "a.localhost."]
)
def test_loopback_names(shared_http: httpx.Client, host: str) -> None:
    """Every name of this machine is taken, whatever the port: a tunnel may end elsewhere."""
    assert shared_http.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("name", ["host", "origin"])
def test_two_of_a_header(shared_server: LiveServer, name: str) -> None:
    """Two hosts or two origins are refused, in whichever order they stand."""
    netloc = shared_server.url.removeprefix("http://")
    mine, other = {"host": (netloc, "evil.example"), "origin": (shared_server.url, "http://evil.example")}[name]
    for values in ((mine, other), (other, mine)):
        connection = HTTPConnection(netloc)
        connection.putrequest("POST", "/graphql", skip_host=name == "host")
        for value in values:
            connection.putheader(name, value)
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(QUERY)))
        connection.endheaders(QUERY)
        assert connection.getresponse().status in (400, 403)
        connection.close()


def test_allowed_hosts(serve: Serve) -> None:
    """Listed names are taken; `*.name` takes sub-domains."""
    server = serve(allowed_hosts=("Daglens.example.org", "*.team.example", "10.0.0.7"))
    with httpx.Client(base_url=server.url) as http:
        for host in (
            "daglens.example.org",
            "daglens.example.org:8443",
            "a.team.example",
            "a.b.team.example",
            "10.0.0.7",
        ):
            assert http.get("/healthz", headers={"host": host}).status_code == 200
        for host in ("team.example", "xteam.example", "example.org", "x.daglens.example.org", "10.0.0.70"):
            assert http.get("/healthz", headers={"host": host}).status_code == 403


def test_foreign_origins(serve: Serve) -> None:
    """A page of another origin can't post here; a listed one can, and may read the answer."""
    server = serve(allowed_origins=("https://front.example.org",))
    body = {"query": "{version}"}
    with httpx.Client(base_url=server.url) as http:
        for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "https://front.example.org:8443"):
            answer = http.post("/graphql", json=body, headers={"origin": origin})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        for origin in (server.url, "https://front.example.org"):
            assert http.post("/graphql", json=body, headers={"origin": origin}).status_code == 200
        listed = http.post("/graphql", json=body, headers={"origin": "https://front.example.org"})
        assert listed.headers["access-control-allow-origin"] == "https://front.example.org"
        # What a browser says itself, and no page can: the page came from here, though a proxy has changed Host.
        proxied = {"origin": "https://daglens.example.org", "sec-fetch-site": "same-origin"}
        assert http.post("/graphql", json=body, headers=proxied).status_code == 200


def test_preflight(serve: Serve, server: LiveServer) -> None:
    """A browser's question beforehand is answered for listed origins only; without a list, for none."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    listed = serve(allowed_origins=("https://front.example.org",))
    for url, origin, allowed in (
        (listed.url, "https://front.example.org", True),
        (listed.url, "https://evil.example", False),
        (server.url, "https://front.example.org", False),
    ):
        answer = httpx.options(f"{url}/graphql", headers={"origin": origin, **asked})
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed


def test_an_unlisted_origin_is_told_of_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A browser tells a page's author nothing of why a preflight was refused: the log names the origin and the setting,
    once for each, and of so many at most that nobody fills it. The answers stay without words."""
    server = serve(allowed_origins=("https://front.example.org",))
    asked = {"access-control-request-method": "POST"}

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "allowed_origins" in record.getMessage()]

    with httpx.Client(base_url=server.url) as http:
        for origin in ("https://front.example.org", server.url):
            http.options("/graphql", headers={"origin": origin, **asked})
        assert told() == []
        for _ in range(2):
            answer = http.options("/graphql", headers={"origin": "http://localhost:5173", **asked})
            assert (answer.status_code, answer.text) == (400, "Disallowed CORS origin")
            http.post("/graphql", json={"query": "{version}"}, headers={"origin": "http://localhost:5173"})
        (line,) = told()
        assert "'http://localhost:5173'" in line
        assert "--allowed-origin" in line
        for number in range(60):
            http.options("/graphql", headers={"origin": f"http://{number}.example" + "x" * 300, **asked})
    assert len(told()) == 50
    assert told()[-1].endswith("Of further origins nothing is said.")
    assert max(map(len, told())) < 600


@pytest.mark.parametrize("prefix", ["/daglens", "/a/b-c"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut off by the proxy", "passed on"])
@pytest.mark.parametrize("by", ["setting", "header"])
def test_path_prefix(serve: Serve, prefix: str, cut: bool, by: str) -> None:
    """Behind a prefix every route works, whether the proxy cuts it off or not; addresses that are given out have it."""
    server = serve(path_prefix=prefix) if by == "setting" else serve()
    headers = {"x-forwarded-prefix": f"{prefix}/"} if by == "header" else {}
    at = "" if cut else prefix
    with httpx.Client(base_url=server.url, headers=headers) as http:
        for path in ("/", "/graphiql", "/graphql?query={version}", "/schema.graphql", "/healthz"):
            assert http.get(f"{at}{path}").status_code == 200
        assert http.get(f"{at}/graphiql/assets/graphiql.min.css").status_code == 200
        html = http.get(f"{at}/graphql", headers={"accept": "text/html"})
        assert html.headers["location"] == f"{prefix}/graphiql"
        if not cut:
            assert http.get(prefix).headers["location"] == f"{prefix}/"


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "/a/../b", "https://evil.example", '/a"b', "/" + "x" * 300, "/a b"]
)
def test_hostile_prefix_header(shared_http: httpx.Client, prefix: str) -> None:
    """A prefix header that is none is passed over."""
    html = shared_http.get("/graphql", headers={"accept": "text/html", "x-forwarded-prefix": prefix})
    assert html.headers["location"] in ("/graphiql", "/a/../b/graphiql")


@pytest.mark.parametrize(
    ("netloc", "expected"),
    [
        ("Example.org:80", Address("example.org", 80)),
        ("[::1]:3000", Address("::1", 3000)),
        ("a.", Address("a", None)),
        ("a:b", None),
        ("a:99999", None),
        ("[::1", None),
        (".", None),
        ("a b", None),
    ],
)
def test_address(netloc: str, expected: Address | None) -> None:
    """A Host header is read as name and port, or not at all."""
    assert address(netloc) == expected


def test_loopback() -> None:
    """Loopback is what cannot leave this machine."""
    assert all(map(is_loopback, ["localhost", "x.localhost", "127.0.0.1", "127.255.0.1", "::1"]))
    assert not any(map(is_loopback, ["localhost.evil.example", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.nip.io", ""]))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.168.1.5", "example.org"])
def test_binding_elsewhere_is_meant(host: str) -> None:
    """Listening where others reach it, without access control, has to be asked for."""
    with pytest.raises(InsecureBinding, match="--insecure"):
        check_binding(host, insecure=False)
    check_binding(host, insecure=True)
    check_binding("127.0.0.1", insecure=False)
    check_binding("[::1]", insecure=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"path_prefix": "daglens"},
        {"path_prefix": "/a//b"},
        {"allowed_origins": ("example.org",)},
        {"allowed_origins": ("https://example.org/path",)},
        {"allowed_hosts": ("https://example.org",)},
        {"allowed_hosts": ("",)},
    ],
    ids=str,
)
def test_settings_that_never_match(settings: dict[str, object]) -> None:
    """What would silently never match is refused at the start."""
    with pytest.raises(InvalidServerSetting):
        ServerSettings(**settings)  # type: ignore[arg-type]
