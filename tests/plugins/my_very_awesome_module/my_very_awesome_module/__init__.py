"""A storage plug-in of the tests."""
