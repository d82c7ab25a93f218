"""Two servers behind nginx, below a path prefix, where a connection that is silent for 5 s is cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.records import EventDraft, NewRun
from tests.acceptance.conftest import TeamHome
from tests.acceptance.followers import LAST, TRANSPORTS, Follower
from tests.acceptance.programs import Serve, Server, until

PREFIX = "/team/daglens"
IDLE_S = 5

CONFIG = """
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
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream daglens {{ {upstreams} }}
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass http://daglens;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
      proxy_read_timeout {idle}s;
      proxy_send_timeout {idle}s;
    }}
  }}
}}
"""


@pytest.fixture
def behind_nginx(team_home: TeamHome, serve: Serve) -> Iterator[str]:
    """The address at which nginx offers two servers in turn."""
    # Well below nginx's patience, as this machine may be busy; the default is below it as well.
    assert ServerSettings().ping_interval_s < IDLE_S
    path = team_home.write(daglens="{live: {ping_interval_s: 1.5}}")
    servers = [serve(path, "--path-prefix", PREFIX) for _ in range(2)]
    with tempfile.TemporaryDirectory(prefix="daglens-nginx-") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with nginx(Path(name), port, servers):
            url = f"http://127.0.0.1:{port}{PREFIX}"
            until(lambda: answers(url), "nginx answers")
            yield url


def nginx(folder: Path, port: int, servers: list[Server]) -> subprocess.Popen[bytes]:
    """It runs until the block's end."""
    upstreams = " ".join(f"server {server.url.removeprefix('http://')};" for server in servers)
    # As root its worker would be nobody, who can't write here.
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIG.format(folder=folder, port=port, prefix=PREFIX, upstreams=upstreams, idle=IDLE_S, user=user)
    (folder / "nginx.conf").write_text(text)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return Nginx([program, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"])


class Nginx(subprocess.Popen[bytes]):
    """Ends with its block."""

    def __exit__(self, *raised: object) -> None:
        self.terminate()
        super().__exit__(*raised)  # type: ignore[arg-type]


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.system
def test_every_transport_walks_the_whole_run(behind_nginx: str, team_home: TeamHome) -> None:
    """Each walks a run that is written with pauses longer than nginx waits, through whichever server its requests
    lead to: every event once, in order, and no connection is cut."""
    with Instance.open(home=team_home.path) as instance:
        instance.create_run(NewRun("run", "nightly"))
        followers = {name: Follower(walk, [behind_nginx], "run") for name, walk in TRANSPORTS.items()}
        for number in range(2):
            instance.append("run", [EventDraft("LOG_MESSAGE", message=f"{number}.{n}") for n in range(100)])
            for follower in followers.values():
                follower.wait_for(100 * (number + 1))
            time.sleep(IDLE_S + 1)  # what is tested: nothing to say for longer than nginx waits
        instance.append("run", [EventDraft(LAST)])
    for name, follower in followers.items():
        assert [event["seq"] for event in follower.whole()] == list(range(1, 202)), name
        assert (follower.lost, follower.unavailable) == (0, 0), name
