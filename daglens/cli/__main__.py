"""`python -m daglens.cli` is `daglens`."""

from daglens.cli import main

main()
