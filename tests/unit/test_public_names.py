"""What `import daglens` offers."""

import pytest

import daglens


@pytest.mark.parametrize("name", daglens.__all__)
def test_every_public_name_is_there(name):
    """Each name can be had from the package itself, with a docstring that says what it is."""
    assert getattr(daglens, name).__doc__
    assert name in dir(daglens)


def test_an_unknown_name_is_an_attribute_error():
    """A typing mistake is told as Python tells it."""
    with pytest.raises(AttributeError, match="no attribute 'start_rum'"):
        daglens.start_rum  # noqa: B018
