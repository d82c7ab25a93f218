"""What a pipeline calls things can neither steer the terminal nor look like lines of the command's own."""

from __future__ import annotations

import pytest

from daglens.instance import Instance
from daglens.recorder.problems import note
from daglens.storage import event_types as et
from daglens.storage.records import EventDraft, LogLevel, NewRun

NAMES = ["a\nforged  nightly  SUCCESS", "\x1b[2J\x1b[31mred", "[/b]", "[link=x]y", ":smile:", "\u202egnp\x85x\u2028y"]

ALL = "".join(NAMES)


@pytest.fixture
def hostile(request, command):
    """The command, on an instance with a run, step, tag and message of each name."""
    with Instance.open(home=command.home) as instance:
        for name in request.param:
            instance.create_run(NewRun(name, name, tags=((name, name),), run_config={name: name}))
            error = {"className": name, "message": name, "stack": [name]}
            instance.append(
                name,
                [
                    EventDraft(et.RUN_START, data={"pipelineName": name}),
                    EventDraft(et.STEP_START, name, data={"attempt": 1}),
                    EventDraft(et.STEP_FAILURE, name, LogLevel.ERROR, name, data={"error": error}),
                    EventDraft(et.RUN_FAILURE, None, LogLevel.ERROR, name, data={"error": error}),
                ],
            )
            (instance.artifacts.folder(name) / "[bold]\x1b[31m").write_text("x")
    return command


def shown(answer) -> list[str]:
    """The lines of a command that worked, none of which steers a terminal."""
    assert answer.code == 0, answer.err
    assert (answer.out + answer.err).replace("\n", "").isprintable()
    lines: list[str] = answer.out.splitlines()
    return lines


@pytest.mark.parametrize("hostile", [NAMES], indirect=True)
def test_a_run_is_a_row(hostile):
    """Whatever it is called, and shown as it is called."""
    lines = shown(hostile("runs", "list"))
    assert len(lines) == 1 + len(NAMES)
    for name in ("[/b]", "[link=x]y", ":smile:"):
        assert sum(line.startswith(name) for line in lines) == 1


@pytest.mark.parametrize("hostile", [[ALL]], indirect=True)
def test_a_run_and_its_events(hostile):
    """Every line of an event but its first is indented; no name breaks a command."""
    shown(hostile("runs", "show", ALL))
    lines = shown(hostile("events", ALL))
    heads = [line for line in lines if not line.startswith(" " * 7)]
    assert len(heads) == 4, lines
    assert len([line for line in shown(hostile("runs", "delete", ALL, "--yes")) if "forged" in line]) == 0


def test_errors(command):
    """Neither does the sentence with which a command ends."""
    Instance.open(home=command.home).close()
    answer = command("runs", "show", "no\x1b[31mne\u2028")
    assert answer.code == 1
    assert answer.err.replace("\n", "").isprintable()


def test_what_a_server_answered(capsys):
    """What the recorder says is one line, whatever it quotes."""
    note("The server failed: \x1b[31m\n\u2028forged\x9b")
    told = capsys.readouterr().err
    assert told.endswith("\n") and told[:-1].isprintable()


def test_a_command_to_be_pasted(command):
    """What a run and a step are called stays two words of the command that shows what they printed, and no option."""
    for run_id, step_key, told in (
        ("x; touch y #", "$(a)", "daglens logs 'x; touch y #' '$(a)'"),
        ("-x", "--all", "daglens logs -- -x --all"),
    ):
        with Instance.open(home=command.home) as instance:
            instance.create_run(NewRun(run_id, "p"))
            steps = [EventDraft(kind, step_key) for kind in (et.STEP_START, et.STEP_FAILURE)]
            instance.append(run_id, [EventDraft(et.RUN_START), *steps, EventDraft(et.RUN_FAILURE)])
        assert f" printed: {told}, and with --stderr\n" in command("runs", "show", "last").out
