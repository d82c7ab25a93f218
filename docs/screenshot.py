"""Takes the README's picture: `python docs/screenshot.py` in an environment with `daglens[system]`, Chromium installed.

It serves an instance of its own, records the demo pipeline into it, and lets GraphiQL watch the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).parent / "images" / "graphiql.png"
QUERY = """\
# The history first, then every event as it is written: each once, in order.
subscription WatchTheDemo($runId: ID!) {
  runEvents(runId: $runId, filter: { minLevel: INFO }) {
    ... on RunEventsBatch {
      events { seq stepKey message }
      caughtUp
      runStatus
    }
    ... on Error { code message }
  }
}
"""
DAGLENS = [sys.executable, "-u", "-m", "daglens.cli"]


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing; `make test-system` installs it.")
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        env = os.environ | {"DAGSTER_HOME": home}
        server = subprocess.Popen([*DAGLENS, "serve", "--port", "0"], env=env, stdout=subprocess.PIPE, text=True)
        pipeline = subprocess.Popen([*DAGLENS, "demo"], env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            assert pipeline.stdout is not None
            url = next(word for line in server.stdout for word in line.split() if word.startswith("http://"))
            run_id = pipeline.stdout.readline().split()[-1]
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 760}, device_scale_factor=1)
            show(page, url, run_id)
            page.screenshot(path=PICTURE)
            browser.close()
        finally:
            pipeline.terminate()
            pipeline.communicate()
            server.terminate()
            server.wait()
    print(f"{PICTURE.stat().st_size:,} bytes in {PICTURE}")


def show(page: Page, url: str, run_id: str) -> None:
    """Open GraphiQL with one tab that watches the run, and let it receive some batches."""
    examples = {"tabs": [{"query": QUERY, "variables": json.dumps({"runId": run_id}, indent=2)}], "fragments": ""}
    page.route("**/graphiql/examples.json", lambda route: route.fulfill(json=examples))
    with page.expect_response(f"{url}/graphql"):
        page.goto(f"{url}/graphiql")
    page.wait_for_timeout(1_000)
    page.get_by_role("button", name="Execute query (Ctrl-Enter)").click()
    page.wait_for_timeout(3_000)


if __name__ == "__main__":
    main()
