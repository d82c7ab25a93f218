"""dagster.yaml: from its text to living storages. Import the modules, this package itself is empty.

`secrets` knows nothing of the others, so a storage may use it.
"""
