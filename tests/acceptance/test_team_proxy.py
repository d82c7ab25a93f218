"""Two servers behind nginx, below a path prefix, where a connection that is silent for 5 s is cut."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from daglens.instance import Instance
from daglens.server.settings import ServerSettings
from daglens.storage.records import EventDraft, NewRun
from tests.acceptance.conftest import TeamHome
from tests.acceptance.followers import LAST, TRANSPORTS, Follower
from tests.acceptance.programs import Serve
from tests.deploy.nginx import nginx

PREFIX = "/team/daglens"
IDLE_S = 5


@pytest.fixture
def behind_nginx(team_home: TeamHome, serve: Serve) -> Iterator[str]:
    """The address at which nginx offers two servers in turn, by deploy/nginx.conf.template."""
    # Well below nginx's patience, as this machine may be busy; the default is below it as well.
    assert ServerSettings().ping_interval_s < IDLE_S
    path = team_home.write(daglens="{live: {ping_interval_s: 1.5}}")
    with nginx([serve(path).url for _ in range(2)], prefix=PREFIX, idle_s=IDLE_S) as url:
        yield url


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
