"""A pipeline to look at: a census of the Python standard library that is installed here."""
