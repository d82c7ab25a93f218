"""A team on PostgreSQL: eight processes write one run, two servers show it, and things break meanwhile.

Whatever breaks: what subscribers of both servers and a walk by pages were given is what is stored, in order, each event
once, no seq left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daglens.instance import Instance
from daglens.storage.records import EventDraft, NewRun
from tests.acceptance.conftest import ROLE, TeamHome
from tests.acceptance.followers import LAST, TRANSPORTS, Follower
from tests.acceptance.programs import Serve, Server, until
from tests.server.conftest import LEGACY, TRANSPORT
from tests.storages.children import outputs, start
from tests.storages.postgres_server import PostgresServer
from tests.storages.postgres_waiting import on_commit

WRITER = Path(__file__).with_name("team_writer.py")
WRITERS = 8
EVENT = "seq eventType message"

# Most transactions take a moment to commit, one in fifty holds the run's lock for long.
DELAY = "PERFORM pg_sleep(CASE WHEN random() < 0.02 THEN 0.2 ELSE random() * 0.01 END)"


class Team:
    """Two servers, writers and followers of one run.

    Attributes:
        servers: The two.
        followers: A subscriber of each server, by one protocol each, and one who walks the pages of the first. Who
            loses its server goes on at the other.
        stop: With this file there, the writers end when each has stored what it must.
    """

    def __init__(self, postgres: PostgresServer, home: TeamHome, serve: Serve) -> None:
        self._postgres = postgres
        self._home = home
        self.stop = home.path / "stop"
        self._writers: list[subprocess.Popen[str]] = []
        with Instance.open(home=home.path) as instance:
            instance.create_run(NewRun("run", "nightly"))
        self.servers: list[Server] = [serve(home.path), serve(home.path)]
        there, other = (server.url for server in self.servers)
        self.followers = [
            Follower(TRANSPORTS[TRANSPORT], [there, other], "run", event=EVENT),
            Follower(TRANSPORTS[LEGACY], [other, there], "run", event=EVENT),
            Follower(TRANSPORTS["pages"], [there, other], "run", event=EVENT),
        ]

    def write(self, count: int, largest: int) -> None:
        """Let the writers go: each stores so many events, and goes on until `finish`."""
        arguments = (count, largest, self.stop)
        self._writers = [start(WRITER, self._home.path, "run", f"w{n}", *arguments) for n in range(WRITERS)]
        for writer in self._writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n", writer.communicate()
        for writer in self._writers:
            assert writer.stdin is not None
            writer.stdin.write("\n")
            writer.stdin.flush()

    def everybody_gets(self, count: int) -> None:
        """Wait until every follower was given so many more events."""
        for follower in self.followers:
            follower.wait_for_more(count)

    def finish(self) -> int:
        """Let the writers end, end the run, and compare what is stored with what was sent and with what was given;
        how many events the writers have stored."""
        self.stop.touch()
        sent = [int(printed) for printed in outputs(self._writers)]
        with Instance.open(home=self._home.path) as instance:
            instance.append("run", [EventDraft(LAST)])
        stored = self._postgres.execute(
            f"SELECT seq, message FROM {self._home.schema}.events JOIN {self._home.schema}.event_heads USING (run_key)"
            " WHERE run_id = 'run' ORDER BY seq"
        )
        assert [seq for seq, _ in stored] == list(range(1, sum(sent) + 2))
        messages = [message.partition(":") for _, message in stored[:-1]]
        for n, count in enumerate(sent):
            assert [int(number) for name, _, number in messages if name == f"w{n}"] == list(range(count))
        for follower in self.followers:
            assert [(event["seq"], event["message"]) for event in follower.whole()] == stored
        return sum(sent)

    def close(self) -> None:
        """End the writers, however the test went."""
        for writer in self._writers:
            if writer.poll() is None:
                writer.kill()
                writer.communicate()


@pytest.fixture
def team(postgres: PostgresServer, team_home: TeamHome, serve: Serve) -> Iterator[Team]:
    """Everybody at work on an instance where commits are delayed at random."""
    on_commit(postgres, f"{team_home.schema}.event_heads", DELAY, "UPDATE")
    made = Team(postgres, team_home, serve)
    yield made
    made.close()


@pytest.mark.fault("slow_commit")
def test_all_is_delivered_as_it_is_stored(team: Team) -> None:
    """8 writers × 5,000 events: nobody was interrupted, and nobody missed anything."""
    team.stop.touch()
    team.write(5000, 200)
    assert team.finish() == WRITERS * 5000
    assert [(follower.lost, follower.unavailable) for follower in team.followers] == [(0, 0)] * 3
    assert all("Traceback" not in server.log for server in team.servers)


def at_work(team: Team) -> None:
    """Everybody writes and reads, and the servers are told of news."""
    team.write(200, 20)
    team.everybody_gets(100)
    for server in team.servers:
        until(lambda server=server: server.live_mode == "LISTEN", "it listens")  # type: ignore[misc]


def modes(team: Team, mode: str) -> Callable[[], bool]:
    return lambda: {server.live_mode for server in team.servers} == {mode}


def test_listeners_are_ended(team: Team, postgres: PostgresServer) -> None:
    """An administrator ends the connections on which the servers listen, and they get no new one for a while: they say
    that they poll, events keep coming, and later they listen again."""
    at_work(team)
    postgres.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    try:
        ended = postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE usename = '{ROLE}' AND query LIKE 'LISTEN%%'",
            {},
        )
        assert ended == [(True,)] * 2
        until(modes(team, "POLL"), "both poll")
        team.everybody_gets(200)
        assert modes(team, "POLL")()
    finally:
        postgres.execute(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")
    until(modes(team, "LISTEN"), "both listen again")
    team.everybody_gets(100)
    team.finish()
    assert [follower.lost for follower in team.followers] == [0, 0, 0]


@pytest.mark.fault("postgres_restarted", "postgres_stopped")
def test_postgres_is_restarted(team: Team, postgres: PostgresServer) -> None:
    """In the middle of everything: writers send again what they can't know to be stored, subscriptions wait, the one
    who walks is told to ask again; nobody loses his connection to a server."""
    at_work(team)
    walker = team.followers[2]
    for _ in range(2):
        told = walker.unavailable
        postgres.stop()
        try:
            until(modes(team, "POLL"), "both notice")
            until(lambda: walker.unavailable > told, "the walker is told")  # noqa: B023 - called here
        finally:
            postgres.start()
        team.everybody_gets(100)
    until(modes(team, "LISTEN"), "both listen again")
    team.everybody_gets(100)
    team.finish()
    assert [follower.lost for follower in team.followers] == [0, 0, 0]
    # An outage is told in sentences, however many requests it fails.
    assert all("Traceback" not in server.log and "PostgreSQL at" in server.log for server in team.servers)


@pytest.mark.fault("kill_server")
def test_a_server_is_killed(team: Team) -> None:
    """`kill -9`: who followed it goes on at the other server with the cursor he had, from behind what those who follow
    that one have had by then."""
    at_work(team)
    subscriber, other, walker = team.followers
    for follower in (subscriber, walker):
        follower.may_go_on.clear()
    team.servers[0].kill()
    other.wait_for_more(200)
    for follower in (subscriber, walker):
        follower.may_go_on.set()
    team.everybody_gets(200)
    team.finish()
    assert subscriber.lost == 1 and walker.lost == 1 and other.lost == 0
