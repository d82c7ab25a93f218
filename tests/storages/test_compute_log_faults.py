"""The suites of logs and artifacts catch what they are there for: one mistake in each storage, and who finds it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from daglens.storage.artifacts import LocalArtifactStorage
from daglens.storage.compute_logs import LocalComputeLogManager
from daglens.testing import ArtifactConformance, ComputeLogConformance, artifacts, compute_logs
from daglens.testing.broken import artifacts as broken_artifacts
from daglens.testing.broken import compute_logs as broken_logs
from tests.storages.suite_runner import failures, names_of_tests

LOG_FAULTS = [
    (broken_logs.LosesTheTail, compute_logs.LogCapturing, "test_every_byte_is_kept_to_the_last"),
    (broken_logs.ClosesStdoutOnly, compute_logs.LogCapturing, "test_close_completes_both_streams"),
    (broken_logs.ForgetsTruncated, compute_logs.LogCapturing, "test_a_truncated_capture_says_so"),
    (broken_logs.MakesLogsAtTheEnd, compute_logs.LogCapturing, "test_the_log_is_there_from_the_beginning"),
    (broken_logs.MixesAttempts, compute_logs.LogCapturing, "test_attempts_have_files_of_their_own"),
    (broken_logs.SwapsStreams, compute_logs.LogCapturing, "test_other_programs_write_to_the_files"),
    (broken_logs.MissesDeletedFiles, compute_logs.LogDeletion, "test_a_capture_that_ends_later_is_no_error"),
    (broken_logs.AcceptsAGap, compute_logs.LogAppending, "test_a_gap_is_refused"),
    (broken_logs.MakesALogOfAGap, compute_logs.LogAppending, "test_a_gap_is_refused"),
    (broken_logs.StoresRepeatsTwice, compute_logs.LogAppending, "test_a_repeated_piece_is_stored_once"),
    (broken_logs.DropsOverlappingPieces, compute_logs.LogAppending, "test_a_repeated_piece_is_stored_once"),
    (broken_logs.ForgetsComplete, compute_logs.LogAppending, "test_the_last_piece_closes_the_stream"),
    (broken_logs.ClosesEveryAttempt, compute_logs.LogAppending, "test_the_last_piece_closes_the_stream"),
    (broken_logs.GrowsAfterItsEnd, compute_logs.LogAppending, "test_a_closed_stream_takes_no_new_bytes"),
    (broken_logs.LooksBeforeItAppends, compute_logs.LogAppending, "test_writers_that_race_for_the_end"),
    (broken_logs.CutsAtNul, compute_logs.LogReading, "test_any_part_of_any_size"),
    (broken_logs.KeepsText, compute_logs.LogAppending, "test_pieces_add_up"),
    (broken_logs.TranslatesLineEnds, compute_logs.LogReading, "test_any_part_of_any_size"),
    (broken_logs.OneByteTooMany, compute_logs.LogReading, "test_any_part_of_any_size"),
    (broken_logs.SizeOfThePiece, compute_logs.LogReading, "test_any_part_of_any_size"),
    (broken_logs.OnlyTheFirstMegabyte, compute_logs.LogReading, "test_a_large_log"),
    (broken_logs.ReadsNothingOfNothing, compute_logs.LogManagerBasics, "test_what_was_never_captured_says_so"),
    (broken_logs.ListsInOrderOfNames, compute_logs.LogListing, "test_order"),
    (broken_logs.ListsTheLastAttempt, compute_logs.LogListing, "test_order"),
    (broken_logs.ListsOnePage, compute_logs.LogListing, "test_many"),
    (broken_logs.KeepsTheLatestAttempt, compute_logs.LogListing, "test_the_latest_attempt"),
    (broken_logs.LeavesMarks, compute_logs.LogDeletion, "test_a_log_made_anew_remembers_nothing"),
    (broken_logs.DeletesByPrefix, compute_logs.LogDeletion, "test_other_runs_stay"),
    (broken_logs.NamesAsTheyCome, compute_logs.LogHostileNames, "test_each_name_is_kept_apart"),
    (broken_logs.IgnoresCase, compute_logs.LogHostileNames, "test_each_name_is_captured_apart"),
    (broken_logs.TakesAnyName, compute_logs.LogHostileNames, "test_impossible_names_are_refused"),
]

ARTIFACT_FAULTS = [
    (broken_artifacts.WalksFolderByFolder, artifacts.ArtifactListing, "test_order_and_pages"),
    (broken_artifacts.SkipsAtPageBorder, artifacts.ArtifactListing, "test_order_and_pages"),
    (broken_artifacts.PagesByPosition, artifacts.ArtifactListing, "test_after_any_path"),
    (broken_artifacts.GuessesThatThereIsMore, artifacts.ArtifactListing, "test_has_more"),
    (broken_artifacts.OneFolderDeep, artifacts.ArtifactListing, "test_order_and_pages"),
    (broken_artifacts.TimesInSeconds, artifacts.ArtifactBasics, "test_a_file_is_listed_and_read"),
    (broken_artifacts.FollowsLinks, artifacts.ArtifactBorders, "test_links"),
    (broken_artifacts.OpensAnyPath, artifacts.ArtifactBorders, "test_paths_that_lead_out"),
    (broken_artifacts.WaitsForPipes, artifacts.ArtifactBorders, "test_what_is_no_file"),
    (broken_artifacts.MakesFoldersByLooking, artifacts.ArtifactHostileNames, "test_impossible_names_are_refused"),
    (broken_artifacts.DeletesThroughLinks, artifacts.ArtifactDeletion, "test_what_links_lead_to_stays"),
    (broken_artifacts.CountsFilesNotBytes, artifacts.ArtifactDeletion, "test_everything_of_the_run_goes"),
    (broken_artifacts.OneFolderForAll, artifacts.ArtifactHostileNames, "test_each_run_is_kept_apart"),
    (broken_artifacts.TakesAnyName, artifacts.ArtifactHostileNames, "test_impossible_names_are_refused"),
]


@pytest.mark.parametrize(
    ("fault", "topic", "test"),
    [
        pytest.param(*case, id=f"{case[0].__module__.rpartition('.')[2]}-{case[0].__name__}")
        for case in (*LOG_FAULTS, *ARTIFACT_FAULTS)
    ],
)
def test_fault_is_caught(fault: type, topic: type, test: str, tmp_path: Path) -> None:
    """The topic that speaks of the mistake fails, in the test that describes it, and not in every test."""
    failed = failures(topic, fault, tmp_path)
    assert test in failed, f"{fault.__name__} ({fault.__doc__}) passes {topic.__name__}.{test}"
    assert len(failed) < len(names_of_tests(topic)), "so broken that it shows nothing"


@pytest.mark.parametrize(
    ("suite", "storage"),
    [(ComputeLogConformance, LocalComputeLogManager), (ArtifactConformance, LocalArtifactStorage)],
)
def test_sound_storage_passes(suite: type, storage: type, tmp_path: Path) -> None:
    """Without a mistake nothing fails: what is caught is the mistake, not the runner."""
    assert len(names_of_tests(suite)) > 12
    assert failures(suite, storage, tmp_path) == {}


@pytest.mark.parametrize(("module", "cases"), [(broken_logs, LOG_FAULTS), (broken_artifacts, ARTIFACT_FAULTS)])
def test_every_broken_storage_is_tried(module: object, cases: list[tuple[type, type, str]]) -> None:
    """No class of the broken ones is left without a test."""
    base = LocalComputeLogManager if module is broken_logs else LocalArtifactStorage
    broken = {
        found
        for name, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, base) and found is not base and not name.startswith("_")
    }
    assert broken == {case[0] for case in cases}
