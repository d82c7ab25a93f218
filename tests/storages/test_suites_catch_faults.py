"""The suites catch what they are there for: each of these storages has one mistake, and a test that finds it."""

from __future__ import annotations

import inspect

import pytest

from daglens.storage.memory import InMemoryEventLogStorage, InMemoryRunStorage
from daglens.testing import EventLogStorageConformance, RunStorageConformance, events, runs, threads
from daglens.testing.broken import event_states
from daglens.testing.broken import events as broken_events
from daglens.testing.broken import leases as broken_leases
from daglens.testing.broken import runs as broken_runs
from tests.storages.suite_runner import failures, names_of_tests

RUN_FAULTS = [
    (broken_runs.CreatesTwice, runs.RunAdding, "test_many_add_the_same_run_at_once"),
    (broken_runs.IgnoresConflicts, runs.RunAdding, "test_other_values_are_a_conflict"),
    (broken_runs.AddsRunBeforeTags, runs.RunAdding, "test_two_hundred_tags_and_no_more"),
    (broken_runs.KeepsTimesAsFloats, runs.RunAdding, "test_times_need_64_bits"),
    (broken_runs.SkipsRunAtPageBorder, runs.RunPaging, "test_walk_while_runs_come_and_go"),
    (broken_runs.PagesByOffset, runs.RunPaging, "test_walk_while_runs_come_and_go"),
    (broken_runs.GuessesThatThereIsMore, runs.RunPaging, "test_has_more_is_exact"),
    (broken_runs.PagesByTimeAlone, runs.RunPaging, "test_order_is_by_creation_then_id"),
    (broken_runs.ZeroMeansAll, runs.RunPaging, "test_limit_zero_gives_no_runs"),
    (broken_runs.EmptyListIsNoCondition, runs.RunFiltering, "test_empty_list_matches_nothing"),
    (broken_runs.LastValueOfAKeyWins, runs.RunFiltering, "test_two_values_for_one_key_match_nothing"),
    (broken_runs.IgnoresTagsWithoutValue, runs.RunFiltering, "test_tag_key_alone"),
    (broken_runs.BeforeIsInclusive, runs.RunFiltering, "test_created_between"),
    (broken_runs.LeavesOutTheRoot, runs.RunFiltering, "test_root_includes_the_root_itself"),
    (broken_runs.CountsNoFurther, runs.RunFiltering, "test_count_goes_no_further_than_asked"),
    (broken_runs.PrefixIsAPattern, runs.RunTags, "test_prefix_is_taken_literally"),
    (broken_runs.PrefixIgnoresCase, runs.RunTags, "test_prefix_is_taken_literally"),
    (broken_runs.TagsReplaceTags, runs.RunTags, "test_tags_are_added_and_replaced"),
    (broken_runs.AddsTagsOneByOne, runs.RunTags, "test_more_than_two_hundred_tags"),
    (broken_runs.LateStartWins, runs.RunProjection, "test_status_moves_only_upward"),
    (broken_runs.ProjectsOlderStates, runs.RunProjection, "test_older_state_changes_nothing"),
    (broken_runs.PresumptionStays, runs.RunProjection, "test_presumed_failure_gives_way"),
    (broken_runs.HeartbeatIsAChange, runs.RunChangesTopic, "test_what_is_no_change"),
    (broken_runs.ChangesByTimeOfBegin, runs.RunChangesTopic, "test_nothing_is_lost_while_many_write"),
    (broken_runs.DeletionIsNoNews, runs.RunChangesTopic, "test_each_kind_of_change"),
    (broken_runs.PositionOfNow, runs.RunChangesTopic, "test_walk_in_pages"),
    (broken_runs.TagsStayBehind, runs.RunDeletion, "test_deleted_run_is_gone_everywhere"),
    (broken_runs.LeavesNoTombstones, runs.RunDeletion, "test_id_stays_closed"),
    (broken_runs.TombstonesForEver, runs.RunTombstoneExpiry, "test_id_is_free_after_ninety_days"),
    (broken_runs.PositionsForEver, runs.RunTombstoneExpiry, "test_position_that_could_miss_a_deletion"),
    (broken_runs.PagesMakeYoung, runs.RunTombstoneExpiry, "test_position_that_could_miss_a_deletion"),
    (broken_runs.IgnoresCaseOfIds, runs.RunHostileNames, "test_each_name_is_kept_apart"),
]

LEASE_FAULTS = [
    (broken_leases.AlwaysYes, runs.RunLeases, "test_one_holder_at_a_time"),
    (broken_leases.LooksAndTakesLater, runs.RunLeases, "test_of_many_who_ask_at_once_one_is_told_yes"),
    (broken_leases.LeasesForEver, runs.RunLeases, "test_it_ends_with_its_time"),
    (broken_leases.OneLease, runs.RunLeases, "test_names_are_kept_apart"),
    (broken_leases.KeepingIsNoNews, runs.RunLeases, "test_keeping_prolongs"),
    (broken_leases.WholeSeconds, runs.RunLeases, "test_parts_of_a_second"),
]

EVENT_FAULTS = [
    (broken_events.ReversesABatch, events.EventAppending, "test_large_batch_keeps_its_order"),
    (broken_events.StoresPartOfARefusedBatch, events.EventAppending, "test_too_large_event_refuses_its_batch"),
    (broken_events.CutsSilently, events.EventAppending, "test_long_message_is_kept_or_cut_aloud"),
    (broken_events.KeepsTimesAsFloats, events.EventAppending, "test_times_need_64_bits"),
    (broken_events.HearsEverything, events.EventAppending, "test_sign_of_life"),
    (broken_events.OneIncarnation, events.EventAppending, "test_incarnation_belongs_to_the_log"),
    (broken_events.AcceptsDuplicates, events.EventDuplicates, "test_same_batch_again"),
    (broken_events.AcceptsDuplicatesInABatch, events.EventDuplicates, "test_twice_in_one_batch"),
    (broken_events.LooksForDuplicatesTooEarly, events.EventDuplicates, "test_retry_while_the_first_try_is_under_way"),
    (broken_events.DuplicatesTakeSeqs, events.EventDuplicates, "test_partly_known_batch"),
    (broken_events.EventIdsOfAllRuns, events.EventDuplicates, "test_ids_belong_to_one_run"),
    (broken_events.SkipsEventAtPageBorder, events.EventReading, "test_walk_gives_every_event_once"),
    (broken_events.BackwardReadsForward, events.EventReading, "test_pages_backward"),
    (broken_events.AnswersInOtherOrder, events.EventReading, "test_many_queries_in_one_call"),
    (broken_events.VisibleOutOfOrder, events.EventConcurrency, "test_tailing_readers_see_every_event_once"),
    (broken_events.HeadOfAnotherMoment, events.EventConcurrency, "test_head_and_events_of_a_slice_are_of_one_moment"),
    (broken_events.EmptyListIsNoCondition, events.EventFiltering, "test_empty_list_matches_nothing"),
    (broken_events.LimitsBeforeItFilters, events.EventFiltering, "test_walk_gives_all_that_match"),
    (broken_events.FilteredPlaceStands, events.EventFiltering, "test_place_moves_over_what_is_left_out"),
    (event_states.LateStartWins, events.EventFolding, "test_state_of_the_run"),
    (event_states.CountsTheLastBatch, events.EventFolding, "test_counts"),
    (event_states.ForgetsEarlierAttempts, events.EventSteps, "test_state_of_a_step"),
    (event_states.StepsInOrderOfKey, events.EventSteps, "test_order_is_of_first_appearance"),
    (event_states.DropsHeadsOnDelete, events.EventDeletion, "test_removes_in_bounded_batches"),
    (event_states.AppendsToClosedRuns, events.EventDeletion, "test_closed_run_takes_no_events"),
    (event_states.DeletesOpenRuns, events.EventDeletion, "test_open_run_keeps_everything"),
    (event_states.DeletesAllAtOnce, events.EventDeletion, "test_removes_in_bounded_batches"),
    (event_states.StepsStayBehind, events.EventDeletion, "test_steps_go_with_the_last_event"),
    (event_states.TombstonesForEver, events.EventTombstoneExpiry, "test_log_begins_anew_after_ninety_days"),
    (
        event_states.TombstonesGoWithDeletions,
        events.EventTombstoneExpiry,
        "test_log_begins_anew_though_nothing_else_was_deleted",
    ),
    (event_states.NeverTells, events.EventWatching, "test_hint_comes_after_an_append"),
    (event_states.OneBadWatcherEndsAll, events.EventWatching, "test_callback_that_raises_ends_nothing"),
    (event_states.GoesOnAfterStop, events.EventWatching, "test_stopped_watch_is_silent"),
    (event_states.SplitsIdsAtUnderscores, events.EventWatching, "test_run_that_is_new_is_hinted"),
    (event_states.IgnoresCaseOfIds, events.EventHostileNames, "test_run_ids_are_kept_apart"),
]


TRIES = 5
"""Some faults are races, which a busy machine may hide for once: the fault must show in one of so many tries."""


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken storage is not waited for as long as a slow one."""
    monkeypatch.setattr(threads, "DEADLINE_S", 1.0)


@pytest.mark.parametrize(
    ("fault", "topic", "test"),
    [
        pytest.param(*case, id=f"{case[0].__module__.rpartition('.')[2]}-{case[0].__name__}")
        for case in (*RUN_FAULTS, *LEASE_FAULTS, *EVENT_FAULTS)
    ],
)
@pytest.mark.usefixtures("short_deadline")
def test_fault_is_caught(fault: type, topic: type, test: str) -> None:
    """The topic that speaks of the mistake fails, in the test that describes it, and not in every test."""
    for _ in range(TRIES):
        failed = failures(topic, fault)
        if test in failed:
            break
    assert test in failed, f"{fault.__name__} ({fault.__doc__}) passes {topic.__name__}.{test}"
    assert len(failed) < len(names_of_tests(topic)), "so broken that it shows nothing"


@pytest.mark.parametrize(
    ("suite", "expiry", "storage"),
    [
        (RunStorageConformance, runs.RunTombstoneExpiry, InMemoryRunStorage),
        (EventLogStorageConformance, events.EventTombstoneExpiry, InMemoryEventLogStorage),
    ],
)
def test_sound_storage_passes(suite: type, expiry: type, storage: type) -> None:
    """Without a mistake nothing fails: what is caught is the mistake, not the runner."""
    assert len(names_of_tests(suite)) > 50
    assert failures(suite, storage) == {}
    assert failures(expiry, storage) == {}


def test_sound_leases_pass() -> None:
    """Likewise for leases, which a run storage may offer beside its contract."""
    assert failures(runs.RunLeases, InMemoryRunStorage) == {}


def test_every_fault_has_its_test() -> None:
    """No broken storage stands there unused."""
    there = {
        value
        for module in (broken_runs, broken_leases, broken_events, event_states)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert there == {fault for fault, _, _ in (*RUN_FAULTS, *LEASE_FAULTS, *EVENT_FAULTS)}
