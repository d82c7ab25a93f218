"""nginx with deploy/nginx.conf.template, in front of servers of a test."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.acceptance.programs import until
from tests.docs.snippets import ROOT

TEMPLATE = ROOT / "deploy" / "nginx.conf.template"

_AROUND = """
daemon off;
{user}
worker_processes 1;
error_log stderr warn;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  include {folder}/daglens.conf;
}}
"""


def filled(values: Mapping[str, str]) -> str:
    """The template with its variables replaced, as envsubst with NGINX_ENVSUBST_FILTER=^DAGLENS_ does."""
    return re.sub(r"\$\{(DAGLENS_\w+)\}", lambda match: values[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def program() -> str:
    """Debian keeps it where the path of a user doesn't lead."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def write(folder: Path, conf: str) -> list[str]:
    """Write a whole configuration around this one; the command that starts nginx with it."""
    # As root its worker would be nobody, who can't write here.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "daglens.conf").write_text(conf, encoding="utf-8")
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user), encoding="utf-8")
    return [program(), "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]


@contextmanager
def nginx(servers: Sequence[str], *, prefix: str = "", idle_s: int | None = None) -> Iterator[str]:
    """The address, prefix included, at which nginx offers servers, which are told by their URLs, until the block's
    end; `idle_s` is how long it lets a connection be silent, in place of the template's time."""
    with tempfile.TemporaryDirectory(prefix="daglens-nginx-") as name:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        upstreams = [f"server {url.removeprefix('http://')};" for url in servers]
        conf = filled(
            {
                "DAGLENS_LISTEN": f"127.0.0.1:{port}",
                "DAGLENS_SERVERS": " ".join(upstreams),
                "DAGLENS_PREFIX": prefix,
                "DAGLENS_TLS": "",
            }
        )
        if idle_s is not None:
            conf, count = re.subn(r"(proxy_(?:read|send)_timeout) \w+;", rf"\1 {idle_s}s;", conf)
            assert count == 2
        running = subprocess.Popen(write(Path(name), conf))
        try:
            url = f"http://127.0.0.1:{port}{prefix}"
            until(lambda: _answers(url), "nginx answers")
            yield url
        finally:
            running.terminate()
            running.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False
