"""docs/observability.md, docs/metrics.md and the dashboard: they name what there is, and all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from daglens.instance import Instance
from daglens.server.telemetry.metrics import Metrics
from daglens.storage.records import NewRun
from daglens.testing.server import serve_in_thread
from tests.docs.snippets import ROOT, marked, snippets

DOCUMENT = "docs/observability.md"
_ROW = re.compile(r"^\| `(?P<name>[a-z_]+)` \| (?P<kind>\w+) \| (?P<labels>[^|]*)\|", re.M)
_NAME = re.compile(r"\b(?:daglens|process|python)_[a-z_]+\b")
_PARTS = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def exported() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of a server, by its name; labels as far as there are samples."""
    with Instance.ephemeral() as instance, serve_in_thread(instance) as server:
        instance.create_run(NewRun("run", "nightly"))
        httpx.post(f"{server.url}/graphql", json={"query": "{ runsOrError { __typename } }"})
        text = httpx.get(f"{server.url}/metrics").text
    declared = {
        **{metric._name: set(metric._labelnames) for metric in vars(Metrics()).values() if hasattr(metric, "_name")}
    }
    found = {}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = (family.type, labels | declared.get(family.name, set()))
    return found


@pytest.fixture(scope="module")
def documented() -> dict[str, tuple[str, set[str]]]:
    """The same, out of the tables."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    return {row["name"]: (row["kind"], set(re.findall(r"`(\w+)`", row["labels"]))) for row in _ROW.finditer(text)}


def test_every_metric_is_documented_and_no_other(exported, documented):
    """By name, kind and labels."""
    assert documented.keys() == exported.keys()
    for name, (kind, labels) in exported.items():
        assert documented[name][0] == kind, name
        # A pool is there with PostgreSQL only.
        assert labels == documented[name][1] or not labels, name


def names_in(texts: Iterator[str]) -> set[str]:
    """Names of metrics in expressions."""
    return {_PARTS.sub("", name) for text in texts for name in _NAME.findall(text)}


def test_the_dashboard_asks_for_metrics_that_exist(exported):
    """Each one, and by labels that it has; what a server says of itself is all on it."""
    board: Any = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked = names_in(iter(expressions))
    assert asked <= exported.keys()
    assert {name for name in exported if name.startswith("daglens_")} - asked == {"daglens_retention_freed_bytes_total"}
    assert names_in(iter([json.dumps(board["templating"])])) == {"daglens_info"}
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)


def test_the_dashboard_groups_by_labels_that_exist(documented):
    """A label that is spelled wrong gives an empty graph, and no error."""
    board: Any = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            known = set.intersection(*(documented[name][1] for name in names_in(iter([target["expr"]]))))
            grouped = {label for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(", ")}
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert (grouped | shown) - {"le", "instance", "worker"} <= known, target


def test_expressions_are_what_prometheus_takes_them_for(exported):
    """Counters are read by their rise, percentiles from buckets that are summed by `le`, gauges as they are."""
    board: Any = json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    (alerts,) = marked(DOCUMENT, "alerts")
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    expressions += [rule["expr"] for rule in yaml.safe_load(alerts.text)["groups"][0]["rules"]]
    for expression in expressions:
        for name in re.findall(r"\b(?:daglens|process)_\w+", expression):
            kind = exported[_PARTS.sub("", name)][0]
            ways = re.findall(rf"(\w+)\({name}(?:{{[^}}]*}})?(\[[^]]+\])?", expression)
            rises = [way in ("rate", "increase") and bool(window) for way, window in ways]
            assert rises and all(rises) if kind in ("counter", "histogram") else not any(rises), expression
            if kind == "histogram":
                assert name.endswith("_bucket"), expression
                assert re.search(r"histogram_quantile\(0\.\d+, sum by \(le\b[^)]*\) \(rate\(", expression), expression
        assert expression.count("(") == expression.count(")")


def test_every_block_is_tested():
    """No block of the document is without a mark that a test takes up."""
    assert [block.mark for block in snippets(DOCUMENT)] == ["prometheus", "alerts", "line", "doctor"]


def test_alerts_ask_for_metrics_that_exist(exported):
    """And the blocks are YAML."""
    (scrape,) = marked(DOCUMENT, "prometheus")
    assert yaml.safe_load(scrape.text)["scrape_configs"][0]["job_name"] == "daglens"
    (alerts,) = marked(DOCUMENT, "alerts")
    rules = yaml.safe_load(alerts.text)["groups"][0]["rules"]
    assert all(rule["annotations"]["summary"] for rule in rules)
    assert names_in(rule["expr"] for rule in rules) <= exported.keys()


def test_the_line_is_as_the_server_writes_it(caplog):
    """The example has the keys of a request's line."""
    import io
    import logging

    from daglens.server.telemetry.logs import JsonLines, OfRequest

    (example,) = marked(DOCUMENT, "line")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(OfRequest())
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("daglens.access")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "daglens.access")
    try:
        with Instance.ephemeral() as instance, serve_in_thread(instance) as server:
            httpx.post(f"{server.url}/graphql", json={"query": "query RunsPage { __typename }"})
    finally:
        logger.removeHandler(handler)
    assert json.loads(stream.getvalue().splitlines()[0]).keys() == json.loads(example.text).keys()


def test_the_checks_of_doctor_are_those_that_are_listed():
    """In the code, each is the first argument of a finding."""
    table = set(re.findall(r"^\| `([a-z-]+)` \|", (ROOT / DOCUMENT).read_text(encoding="utf-8"), re.M))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "daglens" / "doctor").glob("*.py"))
    made = set(re.findall(r'\b(?:ok|warning|problem|_looked)\(\s*"([a-z-]+)"', code))
    assert made == table


def test_doctor_runs_as_shown(tmp_path: Path):
    """On a new instance."""
    (shown,) = marked(DOCUMENT, "doctor")
    script = tmp_path / "daglens"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m daglens.cli "$@"\n')
    script.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "DAGSTER_HOME": str(home),
    }
    done = subprocess.run(["sh", "-c", shown.text], env=environment, capture_output=True, text=True)
    assert "configuration: " in done.stdout and '"check": "configuration"' in done.stdout, done.stderr
