from keras_s4.testing.specification import GUIDE, insert_operations
from keras_s4.tflite.program import operations


def test_the_specification_in_the_guide_is_that_of_the_operations():
    text = GUIDE.read_text()
    assert insert_operations(text) == text, "stale; run python -m keras_s4.testing.specification"


def test_every_operation_is_specified():
    named = [name for name in operations.__all__ if name != "Operation"]
    assert len(named) >= 20
    assert all(f"**{name}** — " in GUIDE.read_text() for name in named)
