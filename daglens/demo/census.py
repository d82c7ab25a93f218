"""The demo pipeline: how large is the Python standard library of this machine?

find_sources -> parse_a, parse_b (at once, each in a process) -> load (tried twice) -> check -> report
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from daglens.demo import database, sources
from daglens.demo.report import html_page, markdown_table
from daglens.demo.sources import FileCount
from daglens.instance import Instance
from daglens.recorder import Markdown, Run, RunTerminated, start_run

PIPELINE = "stdlib_census"
INTERRUPTED = 130


def main(instance: Instance, *, fail: bool = False, pace: float = 1.0, options: str = "") -> int:
    """Record the pipeline, telling what happens on stdout; the exit code: 0, 1 with `fail`, 130 when interrupted.

    `options`: what the commands that it offers need to find this instance.
    """
    run_id: str | None = None
    try:
        version = platform.python_version()
        tags = {"demo": "yes", "python": version, "machine": platform.node() or "unknown"}
        config = {"pace": pace, "fail": fail, "root": str(sources.library_root())}
        with start_run(PIPELINE, tags=tags, run_config=config, instance=instance) as run:
            run_id = run.run_id
            print(f"Recording {PIPELINE} as run {run_id}\n", flush=True)
            Census(run, fail=fail, pace=pace).run_all()
    except database.CensusRefused as error:
        print(f"\nThe run failed, as it was asked to: {error}", flush=True)
        return _look(run_id, 1, options)
    except (KeyboardInterrupt, RunTerminated):
        print("\nInterrupted; the run is canceled.", flush=True)
        return _look(run_id, INTERRUPTED, options)
    print("\nThe run ended well.", flush=True)
    return _look(run_id, 0, options)


def _look(run_id: str | None, code: int, options: str) -> int:
    if run_id is not None:
        show = f"daglens failed{options}" if code == 1 else f"daglens runs show {run_id}{options}"
        print(f"Look at it: {show}   or, in a browser, daglens serve{options}", flush=True)
    return code


class Census:
    """The steps, and what they hand on to each other.

    Attributes:
        pace: 1: slow enough to be watched; 0: without pauses.
    """

    def __init__(self, run: Run, *, fail: bool, pace: float) -> None:
        self.run = run
        self.fail = fail
        self.pace = pace
        self.root = sources.library_root()
        self.database = run.artifact_path("census.db")

    def run_all(self) -> None:
        """All steps in their order."""
        found = self._find()
        counts = self._parse(found)
        self._load(counts)
        self._check(found, counts)
        self._report(counts)
        self.run.skip_step("publish", "this census stays on your machine")

    def _find(self) -> list[str]:
        found: list[str] = []
        with self.run.step("find_sources") as step:
            print(f"Looking for source files below {self.root}")
            found = sources.find_sources(self.root)
            self._pause(1.5)
            size_bytes = sum((self.root / path).stat().st_size for path in found)
            print(f"{len(found)} files, {size_bytes / 2**20:.1f} MiB")
            step.log.info("left out: %s", ", ".join(sorted(sources.LEFT_OUT)))
            step.output("paths", {"files": len(found), "bytes": size_bytes, "root": self.root}, type_check=True)
        return found

    def _parse(self, found: Sequence[str]) -> list[FileCount]:
        parts = sources.halves(self.root, found)
        with ThreadPoolExecutor(max_workers=2) as pool:
            futures = [
                pool.submit(
                    self.run.bind(self.run.call_step),
                    key,
                    sources.parse_files,
                    str(self.root),
                    part,
                    6.0 * self.pace,
                    isolate=True,
                )
                for key, part in zip(("parse_a", "parse_b"), parts, strict=True)
            ]
            return [count for future in futures for count in future.result()]

    def _load(self, counts: Sequence[FileCount]) -> None:
        backup = database.Backup(self.database)
        try:
            for attempt in self.run.attempts("load", retries=2, wait_s=2.0 * self.pace):
                with attempt as step:
                    step.input("counts", type_check=bool(counts))
                    print(f"Loading {len(counts)} rows into {self.database}")
                    self._pause(0.7)
                    if step.attempt > 1:
                        backup.finish()
                    else:
                        print("A backup holds the database; it won't for long.", file=sys.stderr)
                    rows = database.load(self.database, counts)
                    print(f"{rows} rows are there")
                    step.object_store("SET_OBJECT", self.database.as_uri(), {"rows": rows})
                    step.materialize("files", {"rows": rows, "database": self.database}, asset_key=["census", "files"])
        finally:
            backup.finish()

    def _check(self, found: Sequence[str], counts: Sequence[FileCount]) -> None:
        unreadable = [count.path for count in counts if count.unreadable]
        longest = sorted((c for c in counts if c.lines > database.LONGEST_ALLOWED), key=lambda c: -c.lines)
        with self.run.step("check") as step:
            self._pause(1.0)
            step.expect("every file is counted", len(counts) == len(found), {"found": len(found)})
            step.expect("every file can be parsed", not unreadable, {"unreadable": unreadable})
            named = ", ".join(f"{count.path} ({count.lines:,})" for count in longest[:3])
            short = step.expect(
                "no module is too long",
                not longest,
                {"longest": [count.path for count in longest], "allowed": database.LONGEST_ALLOWED},
                f"{len(longest)} modules have more than {database.LONGEST_ALLOWED:,} lines, among them {named}. This "
                "one is meant to fail: a long module is worth a look, not worth stopping a census for.",
            )
            if not short:
                print(f"Too long, in the opinion of this census: {named}", file=sys.stderr)
            self._pause(0.5)
            if self.fail:
                database.refuse_long_modules(self.database)

    def _report(self, counts: Sequence[FileCount]) -> None:
        packages = sources.by_package(counts)
        files, lines, functions, classes = (sum(numbers[i] for numbers in packages.values()) for i in range(4))
        version = platform.python_version()
        title = f"The standard library of Python {version}"
        summary = f"{files:,} files, {lines:,} lines, {functions:,} functions, {classes:,} classes."
        with self.run.step("report") as step:
            print(f"{title}: {summary}")
            report = step.artifact_path("report.html")
            report.write_text(html_page(title, summary, packages), encoding="utf-8")
            self._pause(1.0)
            step.materialize(
                "report",
                {
                    "summary": summary,
                    "documentation": f"https://docs.python.org/{'.'.join(version.split('.')[:2])}/library/",
                    "file": report,
                    "largest": Markdown(markdown_table(packages, 10), "The ten packages with most lines"),
                    "packages": {package: numbers[1] for package, numbers in list(packages.items())[:10]},
                    "lines": lines,
                    "lines per function": lines / max(1, functions),
                    "complete": all(count.unreadable is None for count in counts),
                },
                "The census as a page, among the run's artifacts",
                ["census", "report"],
                version,
            )

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds * self.pace)
