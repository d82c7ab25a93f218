"""Storages with one mistake each, as people have made them: a suite that doesn't catch them all is not worth running.

Each class is an in-memory storage whose docstring says what is wrong with it.
"""
