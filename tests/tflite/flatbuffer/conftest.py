import functools

import pytest
import tflm_stand_in
from block_harness import build


@pytest.fixture(scope="session")
def harnesses(tmp_path_factory):
    """Runs one operator; compiled against trees of an age when it is first asked for."""
    return functools.cache(lambda namespace: build(tmp_path_factory.mktemp("operator"), namespace))


@pytest.fixture(params=[tflm_stand_in.OLDER, tflm_stand_in.RECENT], ids=["older", "recent"])
def harness(request, harnesses):
    return harnesses(request.param)


@pytest.fixture
def any_harness(harnesses):
    return harnesses(tflm_stand_in.OLDER)
