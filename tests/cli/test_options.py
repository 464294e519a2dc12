from keras_s4.cli.options import Kind, Method
from keras_s4.cli.tune import By
from keras_s4.compression.layer_states import AUTO, CANDIDATES
from keras_s4.compression.parts import KINDS
from keras_s4.compression.search.oracles import TUNERS
from keras_s4.reduction import METHODS


def test_choices_of_the_command_are_those_of_the_library():
    """They are written out there, so that `--help` needs no TensorFlow."""
    assert tuple(Kind) == KINDS
    assert set(Method) == {*METHODS, AUTO}
    assert set(By) == {"rank-tuning", *TUNERS}
    assert set(CANDIDATES) == set(METHODS)
