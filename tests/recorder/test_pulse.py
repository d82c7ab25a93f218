"""Signs of life."""

from __future__ import annotations

import threading

from daglens.recorder import attach_run, start_run
from daglens.recorder.problems import Problems
from daglens.recorder.pulse import Pulse
from daglens.storage.records import Head
from tests.recorder.conftest import Told, until

HEAD = Head("run", "0" * 16)


class Counter:
    """Counts calls, and can be waited for; the first `failing` of them raise."""

    def __init__(self, failing: int = 0, answer: Head | None = None) -> None:
        self.count = 0
        self._failing = failing
        self._answer = answer
        self._changed = threading.Condition()

    def __call__(self, *args: object) -> Head | None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
            if self.count <= self._failing:
                raise OSError("not now")
        return self._answer

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, 30)


def test_it_beats_and_looks(capsys):
    """Beats and looks go on, each in its own time, through failures, which are told once."""
    beat, look, heard = Counter(failing=2), Counter(failing=2, answer=HEAD), Counter()
    pulse = Pulse(beat=beat, beat_every_s=0.01, look=look, look_every_s=0.005, on_head=heard, problems=Problems())
    pulse.start()
    assert beat.count == 1, "the first beat is there when start returns"
    beat.wait_for(5)
    heard.wait_for(3)
    pulse.stop()
    assert capsys.readouterr().err.count("daglens:") == 1


def test_a_look_that_fails_after_the_end(capsys):
    """It isn't told: what it asks may have been closed meanwhile."""
    asked, closed = threading.Event(), threading.Event()

    def look() -> Head:
        asked.set()
        assert closed.wait(60)
        raise OSError("closed")

    pulse = Pulse(
        beat=Counter(), beat_every_s=60, look=look, look_every_s=0.001, on_head=Counter(), problems=Problems()
    )
    pulse.start()
    assert asked.wait(60)
    pulse.stop()
    closed.set()
    for thread in threading.enumerate():
        if thread.name == "daglens-pulse":
            thread.join()
    assert capsys.readouterr().err == ""


def test_a_slow_beat_does_not_hinder_the_looks():
    """A request to end is heard long before the next beat is due."""
    beat, heard = Counter(), Counter()
    pulse = Pulse(
        beat=beat,
        beat_every_s=3600,
        look=Counter(answer=HEAD),
        look_every_s=0.001,
        on_head=heard,
        problems=Problems(),
    )
    pulse.start()
    heard.wait_for(5)
    pulse.stop()
    assert beat.count == 1


def test_a_run_has_heartbeats(instance):
    """A run says when it is to be presumed dead, and beats on: not more rarely than three times in that span."""
    with start_run("p", instance=instance, heartbeat_timeout_s=3) as run:
        first = instance.run(run.run_id)
        assert first is not None
        assert first.heartbeat_timeout_s == 3

        def beaten() -> bool:
            now = instance.run(run.run_id)
            return now is not None and now.heartbeat_at_us != first.heartbeat_at_us

        until(beaten, "second heartbeat")


def test_a_part_of_a_run_keeps_it_alive(instance, monkeypatch):
    """Who records only a part gives signs of life, and leaves the timeout to whoever began the run."""
    monkeypatch.setattr("daglens.recorder.recording.KEEP_ALIVE_EVERY_S", 0.01)
    run = start_run("p", instance=instance, heartbeat_timeout_s=None)
    with attach_run(run.run_id, instance=instance):
        before = Told(instance, run.run_id).head.heard_at_us
        until(lambda: Told(instance, run.run_id).head.heard_at_us != before, "sign of life")
    stored = instance.run(run.run_id)
    assert stored is not None
    assert (stored.heartbeat_timeout_s, Told(instance, run.run_id).types) == (None, ["RUN_START"])
    run.finish()


def test_the_end_of_a_step_is_stored_at_once(instance, monkeypatch):
    """When the block of a step, or of a run, is left, its events are stored."""
    from daglens.recorder.batch import BatchLimits

    monkeypatch.setattr("daglens.recorder.recording.DEFAULT_BATCH_LIMITS", BatchLimits(max_wait_s=3600))
    with start_run("p", instance=instance) as run:
        told = Told(instance, run.run_id)
        assert told.types == ["RUN_START"]
        with run.step("a"):
            pass
        assert told.types[-1] == "STEP_SUCCESS"
        run.log.info("waits")
        assert told.types[-1] == "STEP_SUCCESS"
        assert run.flush()
        assert told.types[-1] == "LOG_MESSAGE"
    assert told.types[-1] == "RUN_SUCCESS"


def test_a_storage_that_does_not_answer_holds_up_nobody():
    """Where it is known not to answer, the first beat is left to the thread, which makes it at once."""
    beating, released = threading.Event(), threading.Event()

    def beat() -> None:
        beating.set()
        assert released.wait(60)

    pulse = Pulse(beat=beat, beat_every_s=3600, look=Counter(), on_head=Counter(), problems=Problems())
    pulse.start(answers=False)
    assert beating.wait(60), "start has returned, and the beat is under way"
    pulse.stop()
    released.set()
