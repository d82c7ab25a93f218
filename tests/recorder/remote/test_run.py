"""Recording to a server: the same events and logs as to an instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

import daglens
from daglens.instance import Instance
from daglens.recorder.remote.spool_folder import SpoolFolder
from daglens.storage.records import NewRun
from daglens.testing.server import LiveServer
from daglens.upkeep import delete_run
from tests.recorder import isolated_work as work
from tests.recorder.conftest import REPOSITORY, Told, environment, only_run, until
from tests.recorder.remote.conftest import dense
from tests.recorder.remote.gate import Gate


def test_a_whole_run(instance: Instance, server: LiveServer, spool: SpoolFolder, capfd) -> None:
    """Run, events, tags and captured output of a recorder that reaches only the server are there, each once, in
    order; nothing is left in the spool, and nothing is said."""
    with daglens.start_run("nightly", to=server.url, tags={"team": "core"}, run_config={"day": 1}) as run:
        with run.step("extract") as step:
            print("printed")
            os.system("echo from a child")
            step.materialize("orders", {"rows": 5, "ratio": float("nan")})
            for n in range(500):
                step.log.info("message %d", n)
        run.add_tags({"more": "yes"})
    told = only_run(instance)
    stored = instance.run(run.run_id)
    assert stored is not None
    assert (stored.status, stored.pipeline_name) == ("SUCCESS", "nightly")
    assert stored.tags == (("more", "yes"), ("team", "core"))
    assert told.types[:3] == ["RUN_START", "STEP_START", "STEP_MATERIALIZATION"]
    assert [e.message for e in told.all("LOG_MESSAGE")] == [f"message {n}" for n in range(500)]
    assert dense(told)
    assert told.log("extract") == "printed\nfrom a child\n"
    assert told.complete() == {("extract", 1, "stdout"): True, ("extract", 1, "stderr"): True}
    assert list(spool.runs.iterdir()) == []
    assert "daglens:" not in capfd.readouterr().err


@pytest.mark.usefixtures("spool")
def test_the_same_as_to_an_instance(instance: Instance, server: LiveServer) -> None:
    """What a pipeline records over a server differs from what it records to an instance in ids and times alone."""

    def pipeline(run: daglens.Run) -> Told:
        with run:
            with run.step("a") as step:
                step.expect("holds", False, description="why")
                step.output("frame", {"rows": 3, "page": "https://example.org", "table": daglens.Markdown("| a |")})
            run.call_step("b", int, "7")
            with pytest.raises(ZeroDivisionError), run.step("c"):
                1 / 0  # noqa: B018
            run.skip_step("d", "not today")
        return Told(instance, run.run_id)

    here = pipeline(daglens.start_run("p", instance=instance))
    there = pipeline(daglens.start_run("p", to=server.url))
    assert [(e.event_type, e.step_key, e.level) for e in here.events] == [
        (e.event_type, e.step_key, e.level) for e in there.events
    ]
    for event_type in ("STEP_EXPECTATION_RESULT", "STEP_OUTPUT", "STEP_FAILURE"):
        assert here.data(event_type) == there.data(event_type)


def test_output_is_live(instance: Instance, server: LiveServer, spool: SpoolFolder) -> None:
    """What a step prints is on the server while the step still runs, byte for byte."""
    with daglens.start_run("p", to=server.url) as run, run.step("a"):
        print("first")
        os.write(1, b"\xff\xfe no text\n")
        until(lambda: logged(instance, run, "a").endswith(b"no text\n"), "output on the server")
        assert logged(instance, run, "a") == b"first\n\xff\xfe no text\n"


def logged(instance: Instance, run: daglens.Run, step_key: str) -> bytes:
    """What the instance has of a step's stdout."""
    from daglens.storage.errors import LogUnavailable
    from daglens.storage.records import ComputeIO, LogKey

    try:
        return instance.compute_logs.read(LogKey(run.run_id, step_key), ComputeIO.STDOUT, 0, 10**8).data
    except LogUnavailable:
        return b""


def test_large_output(instance: Instance, server: LiveServer, spool: SpoolFolder) -> None:
    """Output of many chunks arrives whole and in order, and is removed here."""
    text = "".join(f"line {n:09d}\n" for n in range(200_000))
    with daglens.start_run("p", to=server.url) as run, run.step("a"):
        sys.stdout.write(text)
    assert Told(instance, run.run_id).log("a") == text
    assert list(spool.runs.iterdir()) == []


@pytest.mark.usefixtures("spool")
def test_threads_and_isolated_steps(instance: Instance, server: LiveServer) -> None:
    """Steps at once, in threads and in child processes, record as to an instance."""
    with daglens.start_run("p", to=server.url) as run:
        threads = [threading.Thread(target=run.call_step, args=(f"t{n}", print, f"from {n}")) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.call_step("isolated", work.double, 7, isolate=True) == 14
    told = Told(instance, run.run_id)
    assert dense(told)
    assert [told.log(f"t{n}") for n in range(4)] == [f"from {n}\n" for n in range(4)]
    assert told.step_status("isolated") == "SUCCESS"


@pytest.mark.usefixtures("spool")
def test_forked_children(instance: Instance, server: LiveServer) -> None:
    """A forked child records into a spool of its own. What it could not send before it ended at once (as children of
    multiprocessing do) its parent sends."""
    with daglens.start_run("p", to=server.url) as run:
        child = os.fork()
        if child == 0:
            with run.step("in-child") as step:
                print("child's output")
                step.log.info("from the child")
            os._exit(0)
        os.waitpid(child, 0)
        with run.step("in-parent"):
            print("parent's output")
    told = Told(instance, run.run_id)
    assert dense(told)
    assert {key: told.step_status(key) for key in ("in-child", "in-parent")} == {
        "in-child": "SUCCESS",
        "in-parent": "SUCCESS",
    }
    assert told.log("in-child") == "child's output\n"
    assert told.log("in-parent") == "parent's output\n"
    assert told.status == "SUCCESS"


@pytest.mark.usefixtures("spool")
def test_attached_processes(instance: Instance, server: LiveServer) -> None:
    """A part of a run that others begin and end: further attempts of a step get the next numbers."""
    instance.create_run(NewRun("r", "nightly"))
    for text in ("one", "two"):
        with daglens.attach_run("r", to=server.url) as run, run.step("a"):
            print(text)
    told = Told(instance, "r")
    assert told.types == ["STEP_START", "STEP_SUCCESS", "STEP_RESTARTED", "STEP_SUCCESS"]
    assert [told.log("a", attempt=n) for n in (1, 2)] == ["one\n", "two\n"]


def test_a_run_that_others_created(instance: Instance, server: LiveServer, spool: SpoolFolder, capsys) -> None:
    """A run of this id and pipeline that exists already is taken over as it is; that is said once."""
    instance.create_run(NewRun("r", "nightly", tags=(("by", "launcher"),)))
    with daglens.start_run("nightly", run_id="r", to=server.url), daglens.current_run().step("a"):  # type: ignore[union-attr]
        pass
    told = Told(instance, "r")
    assert told.status == "SUCCESS"
    assert capsys.readouterr().err.count("created before, with other values; they stay") == 1


def test_a_run_of_another_pipeline(instance: Instance, server: LiveServer, spool: SpoolFolder, capsys) -> None:
    """A run of this id that belongs to another pipeline gets nothing of this one; that is said once, and the
    pipeline goes on."""
    instance.create_run(NewRun("r", "other"))
    with daglens.start_run("nightly", run_id="r", to=server.url) as run:
        for n in range(3):
            with run.step(f"s{n}"):
                pass
    assert Told(instance, "r").events == []
    assert capsys.readouterr().err.count("is one of 'other', not of 'nightly'") == 1
    assert list(spool.runs.iterdir()) == []


def test_a_run_that_is_deleted(instance: Instance, server: LiveServer, spool: SpoolFolder, capsys) -> None:
    """A run that is deleted while it is recorded stays deleted: said once, and the pipeline goes on."""
    with daglens.start_run("p", to=server.url) as run:
        with run.step("a"):
            pass
        until(lambda: "STEP_SUCCESS" in Told(instance, run.run_id).types, "events")
        delete_run(instance, run.run_id)
        with run.step("b"):
            pass
    assert instance.run(run.run_id) is None
    assert instance.events.heads([run.run_id])[run.run_id].deleted
    assert capsys.readouterr().err.count("was deleted. Recording stops; the pipeline goes on.") == 1
    assert list(spool.runs.iterdir()) == []


@pytest.mark.usefixtures("spool")
def test_termination(instance: Instance, gate: Gate) -> None:
    """Somebody asks the server for the run's end: a step that says nothing is interrupted as it is when recorded to an
    instance."""
    run = daglens.start_run("p", to=gate.url)
    told = Told(instance, run.run_id)

    def pipeline() -> None:
        with run, run.step("a"):
            # Nothing more is sent from here on, whose answer would tell.
            until(lambda: gate.of("heartbeat") and instance.run(run.run_id) and told.all("LOGS_CAPTURED"), "step")
            terminate(gate.behind, run.run_id)
            run.pause(60)

    with pytest.raises(daglens.RunTerminated):
        pipeline()
    assert told.status == "CANCELED"
    assert told.step_status("a") == "FAILURE"


def terminate(url: str, run_id: str) -> None:
    """Ask for a run's end."""
    query = "mutation ($id: ID!) { terminateRun(runId: $id) { __typename } }"
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": {"id": run_id}}).json()
    assert answer["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess"


@pytest.mark.usefixtures("spool")
def test_heartbeats(instance: Instance, gate: Gate) -> None:
    """A run is watched from its first moment: the server knows its timeout. A part of a run sends none."""
    with daglens.start_run("p", to=gate.url, heartbeat_timeout_s=30) as run:
        until(lambda: gate.of("heartbeat"), "a heartbeat")
    stored = instance.run(run.run_id)
    assert stored is not None and stored.heartbeat_timeout_s == 30
    gate.requests.clear()
    with daglens.attach_run(run.run_id, to=gate.url) as part, part.step("a"):
        pass
    assert gate.of("heartbeat") == []


@pytest.mark.usefixtures("spool")
def test_the_environment_names_the_server(
    instance: Instance, gate: Gate, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    """$DAGLENS_TO stands in for `to`, and a token comes from $DAGLENS_TOKEN_FILE or $DAGLENS_TOKEN; `instance` wins
    over it."""
    monkeypatch.setenv("DAGLENS_TO", gate.url)
    monkeypatch.setenv("DAGLENS_TOKEN", "from-variable")
    with daglens.start_run("p"):
        pass
    assert {request.headers["authorization"] for request in gate.requests} == {"Bearer from-variable"}
    gate.requests.clear()
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("DAGLENS_TOKEN_FILE", str(file))
    with daglens.start_run("p"):
        pass
    assert {request.headers["authorization"] for request in gate.requests} == {"Bearer from-file"}
    gate.requests.clear()
    with Instance.ephemeral() as other, daglens.start_run("p", instance=other):
        pass
    assert gate.requests == []


@pytest.mark.usefixtures("spool")
def test_an_unfit_address(monkeypatch: pytest.MonkeyPatch, capsys, instance: Instance) -> None:
    """An unfit `to` is refused; an unfit $DAGLENS_TO is said, nothing is recorded, and the pipeline goes on."""
    with pytest.raises(daglens.DaglensError, match="should look like"):
        daglens.start_run("p", to="lens.example.org")
    with pytest.raises(ValueError, match="one place"):
        daglens.start_run("p", to="https://lens.example.org", instance=instance)
    monkeypatch.setenv("DAGLENS_TO", "https://user:secret@lens.example.org")
    with daglens.start_run("p") as run, run.step("a"):
        pass
    said = capsys.readouterr().err
    assert said.count("Nothing is recorded.") == 1
    assert "secret" not in said


@pytest.mark.usefixtures("spool")
def test_artifacts_stay_here(server: LiveServer, spool: SpoolFolder, capsys) -> None:
    """No server takes artifacts: they are kept in a folder of this machine, which is said once."""
    with daglens.start_run("p", to=server.url) as run:
        path = run.artifact_path("reports/a.txt")
        path.write_text("kept")
        run.artifact_path("b.txt").write_text("kept too")
    assert path.is_relative_to(spool.path / "artifacts") and path.read_text() == "kept"
    assert capsys.readouterr().err.count("Artifacts are not sent") == 1


def test_what_recording_to_a_server_imports(server: LiveServer, home, tmp_path) -> None:
    """A recorder of a server loads neither SQLAlchemy nor strawberry, starlette, pydantic or yaml."""
    source = """
import sys
import daglens
with daglens.start_run("p", to=sys.argv[1]) as run, run.step("a"):
    print("hello")
heavy = {"sqlalchemy", "strawberry", "starlette", "graphql", "pydantic", "yaml", "typer", "rich", "uvicorn", "httpx"}
print(sorted(heavy & set(sys.modules)))
"""
    env = environment(home, DAGLENS_SPOOL=str(tmp_path / "spool"))
    done = subprocess.run(
        [sys.executable, "-c", source, server.url], env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("hello\n[]\n", "")


def test_an_interrupted_program(instance: Instance, server: LiveServer, program, tmp_path) -> None:
    """SIGTERM ends the run as canceled, and its end still reaches the server."""
    child = program.start(
        """
        import sys
        import daglens
        with daglens.start_run("p", to=sys.argv[1]) as run, run.step("a"):
            print("ready", flush=True)
            run.pause(60)
        """,
        server.url,
        env={"DAGLENS_SPOOL": str(tmp_path / "spool")},
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    child.wait(60)
    assert only_run(instance).status == "CANCELED"
