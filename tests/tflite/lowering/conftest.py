"""Registering lowerings."""

import pytest
from registries import restored


@pytest.fixture
def registries():
    """What a test registers is taken back at its end."""
    with restored():
        yield
