"""`python -m daglens` is `daglens`."""

from daglens.cli import main

main()
