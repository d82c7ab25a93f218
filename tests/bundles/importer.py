"""A child that imports a bundle and says a line for each step, so that it can be killed between two."""

from __future__ import annotations

import sys

from daglens.bundles import Part, claim
from daglens.bundles.importing import import_file
from daglens.instance import Instance


def _tell(part: Part, done: int, of: int) -> None:
    if part is not Part.CHECK:
        print(part, done, of, flush=True)


if __name__ == "__main__":
    home, bundle = sys.argv[1:]
    # Who imports after a kill waits no longer than that.
    claim.LEASE_S = 0.2
    with Instance.open(home=home) as opened:
        import_file(opened, bundle, on_step=_tell)
