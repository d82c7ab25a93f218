"""Where runs, events, compute logs and artifacts are kept: contracts, records and the storages themselves."""
