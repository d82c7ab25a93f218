"""Adding runs and reading them by id."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from daglens.storage.contract import RunStorage
from daglens.storage.errors import InvalidName, RunConflict, TooManyTags
from daglens.storage.records import NewRun, RunFilter, RunParts, RunState, RunStatus
from daglens.testing.names import IMPOSSIBLE_NAMES
from daglens.testing.runs.topic import RunTopic, add
from daglens.testing.threads import together

FULL_RUN = NewRun(
    run_id="r1",
    pipeline_name="nightly",
    status=RunStatus.SUCCESS,
    tags=(("team", "core"), ("env", "prod")),
    run_config={"ops": {"extract": {"limit": 10}}},
    step_keys_to_execute=("extract", "load"),
    parent_run_id="p1",
    root_run_id="p0",
    created_at_us=1_700_000_000_000_001,
    started_at_us=1_700_000_001_000_002,
    ended_at_us=1_700_000_002_000_003,
    created_by="ci",
)


class RunAdding(RunTopic):
    """`add` and `get`."""

    def test_complete_run_reads_back_as_given(self, storage: RunStorage) -> None:
        """Everything that a complete record says is read back exactly; tags come in order of key."""
        added = storage.add(FULL_RUN)
        assert added.created
        run = storage.get(["r1"])["r1"]
        assert run == added.run
        assert (run.run_id, run.pipeline_name, run.status) == ("r1", "nightly", RunStatus.SUCCESS)
        assert run.tags == (("env", "prod"), ("team", "core"))
        assert json.loads(run.run_config) == FULL_RUN.run_config
        assert run.step_keys_to_execute == ("extract", "load")
        assert (run.parent_run_id, run.root_run_id, run.created_by) == ("p1", "p0", "ci")
        assert run.created_at_us == FULL_RUN.created_at_us
        assert (run.started_at_us, run.ended_at_us) == (FULL_RUN.started_at_us, FULL_RUN.ended_at_us)
        assert run.created_with == FULL_RUN.fingerprint()

    def test_small_run_has_defaults(self, storage: RunStorage) -> None:
        """Only id and pipeline are needed; the times are those of the storage's clock."""
        before = storage.now_us()
        run = add(storage, "r1")
        assert before <= run.created_at_us <= storage.now_us()
        assert before <= run.updated_at_us <= storage.now_us()
        assert run.status is RunStatus.NOT_STARTED
        assert (run.tags, json.loads(run.run_config), run.step_keys_to_execute) == ((), {}, None)
        assert (run.parent_run_id, run.root_run_id, run.created_by) == (None, None, None)
        assert (run.started_at_us, run.ended_at_us) == (None, None)
        assert (run.heartbeat_at_us, run.heartbeat_timeout_s) == (None, None)
        assert (run.presumed, run.projected_seq) == (False, 0)

    def test_no_steps_is_not_all_steps(self, storage: RunStorage) -> None:
        """An empty selection of steps stays apart from none given."""
        assert add(storage, "none", step_keys_to_execute=()).step_keys_to_execute == ()
        assert storage.get(["none"])["none"].step_keys_to_execute == ()

    def test_same_run_again_is_found(self, storage: RunStorage) -> None:
        """A repeated `add` changes nothing and gives the run as it is now."""
        storage.add(FULL_RUN)
        storage.add_tags("r1", [("team", "data")])
        storage.heartbeat("r1", 60)
        again = storage.add(replace(FULL_RUN, tags=tuple(reversed(FULL_RUN.tags))))
        assert not again.created
        assert again.run == storage.get(["r1"])["r1"]
        assert dict(again.run.tags)["team"] == "data"

    def test_retry_after_the_run_went_on(self, storage: RunStorage) -> None:
        """What the run became since it was created is no conflict: what counts is what it was created with."""
        add(storage, "r1")
        storage.project("r1", RunState(RunStatus.STARTED, started_at_us=5, state_seq=1))
        again = storage.add(NewRun("r1", "nightly"))
        assert not again.created
        assert again.run.status is RunStatus.STARTED

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("pipeline_name", "weekly"),
            ("status", RunStatus.QUEUED),
            ("tags", (("env", "prod"),)),
            ("tags", (("env", "prod"), ("team", "other"))),
            ("run_config", {"ops": {"extract": {"limit": 11}}}),
            ("step_keys_to_execute", None),
            ("parent_run_id", None),
            ("root_run_id", "p1"),
            ("created_at_us", 1_700_000_000_000_002),
            ("started_at_us", None),
            ("ended_at_us", None),
        ],
    )
    def test_other_values_are_a_conflict(self, storage: RunStorage, field: str, value: Any) -> None:
        """An id that is there with any other value is RunConflict, and the run stays as it was."""
        before = storage.add(FULL_RUN).run
        with pytest.raises(RunConflict) as caught:
            storage.add(replace(FULL_RUN, **{field: value}))
        assert caught.value.run_id == "r1"
        assert storage.get(["r1"])["r1"] == before

    def test_two_hundred_tags_and_no_more(self, storage: RunStorage) -> None:
        """200 tags are taken; with 201 neither the run nor one of its tags is there."""
        tags = tuple((f"key {n:03}", str(n)) for n in range(201))
        assert len(add(storage, "r200", tags=tags[:200]).tags) == 200
        storage.delete(["r200"])
        with pytest.raises(TooManyTags):
            storage.add(NewRun("r201", "nightly", tags=tags))
        assert storage.get(["r201"]) == {}
        assert list(storage.tag_keys("", 10)) == []
        assert list(storage.pipeline_names("", 10)) == []

    @pytest.mark.parametrize("name", IMPOSSIBLE_NAMES, ids=ascii)
    @pytest.mark.parametrize("place", ["run id", "pipeline name", "tag key"])
    def test_impossible_name_is_refused(self, storage: RunStorage, place: str, name: str) -> None:
        """Empty, over 255 characters, NUL, half a surrogate pair: InvalidName, and nothing was added."""
        run = NewRun("good", "nightly", tags=(("a", "1"), ("b", "2")))
        refused = {
            "run id": replace(run, run_id=name),
            "pipeline name": replace(run, pipeline_name=name),
            "tag key": replace(run, tags=(("a", "1"), (name, "2"))),
        }[place]
        with pytest.raises(InvalidName):
            storage.add(refused)
        assert storage.count(RunFilter(), 10) == 0
        assert list(storage.tag_keys("", 10)) == []
        assert storage.add(run).created

    @pytest.mark.parametrize(
        "config",
        [None, 0, 1.5, True, "text", [], [1, None], {"a": {"ü": ["\u2028", "'", "\\", '"']}}, {"n": 2**63}],
        ids=repr,
    )
    def test_any_json_is_a_config(self, storage: RunStorage, config: Any) -> None:
        """The run's configuration is any JSON value."""
        add(storage, "r1", run_config=config)
        assert json.loads(storage.get(["r1"])["r1"].run_config) == config

    def test_times_need_64_bits(self, storage: RunStorage) -> None:
        """Times beyond 2^31 seconds and 2^53 microseconds keep their last digit."""
        times = {"created_at_us": 2**31 * 10**6 + 1, "started_at_us": 2**53 + 1, "ended_at_us": 253_402_300_799_999_999}
        add(storage, "r1", "nightly", **times)
        run = storage.get(["r1"])["r1"]
        assert {name: getattr(run, name) for name in times} == times

    def test_get_gives_those_that_exist(self, storage: RunStorage) -> None:
        """Unknown ids are left out, an id asked for twice is there once, and a thousand ids are no problem."""
        add(storage, "r1")
        add(storage, "r2")
        found = storage.get(["r2", "nobody", "r1", "r2", *(f"x{n}" for n in range(996))])
        assert {run_id: run.run_id for run_id, run in found.items()} == {"r1": "r1", "r2": "r2"}
        assert storage.get([]) == {}

    def test_parts_that_were_asked_for_are_there(self, storage: RunStorage) -> None:
        """A reader gets at least what it asks for; the columns of the run itself are always there."""
        full = storage.add(FULL_RUN).run
        assert storage.get(["r1"], RunParts.TAGS)["r1"].tags == full.tags
        assert storage.get(["r1"], RunParts.CONFIG)["r1"].run_config == full.run_config
        bare = storage.get(["r1"], RunParts.NONE)["r1"]
        assert bare._replace(tags=full.tags, run_config=full.run_config) == full
        assert storage.get(["r1"]) == {"r1": full}

    def test_many_add_the_same_run_at_once(self, storage: RunStorage, second: RunStorage) -> None:
        """Of eight concurrent calls with one run, one creates it and the others find it."""
        for round_ in range(5):
            run = replace(FULL_RUN, run_id=f"r{round_}")
            added = together([partial(by.add, run) for by in (storage, second) * 4])
            assert sum(a.created for a in added) == 1
            assert {a.run.created_at_us for a in added} == {FULL_RUN.created_at_us}
            assert {a.run.tags for a in added} == {(("env", "prod"), ("team", "core"))}

    def test_one_of_two_conflicting_runs_wins(self, storage: RunStorage, second: RunStorage) -> None:
        """Of concurrent calls with one id and different values, one creates, all others are in conflict."""
        for round_ in range(5):

            def create(by: RunStorage, pipeline: str, run_id: str = f"r{round_}") -> str | None:
                try:
                    return by.add(NewRun(run_id, pipeline)).run.pipeline_name
                except RunConflict:
                    return None

            won = together([partial(create, by, f"p{n}") for n, by in enumerate((storage, second) * 4)])
            winners = [name for name in won if name is not None]
            assert len(winners) == 1
            assert storage.get([f"r{round_}"])[f"r{round_}"].pipeline_name == winners[0]
