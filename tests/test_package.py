import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_control_theory_needs_no_keras():
    code = "import sys, keras_s4.reduction, keras_s4.systems; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert run(code) == "set()"


@pytest.mark.parametrize("module", ["program", "fixed_point", "operators", "flatbuffer_writer", "emulator", "blocks"])
def test_the_integer_program_needs_no_tensorflow(module):
    """`keras_s4.tflite` offers `convert`, which needs Keras, and yet its program is quick to load."""
    code = f"import sys, keras_s4.tflite.{module}; print('tensorflow' in sys.modules)"
    assert run(code) == "False"


def test_saved_models_load_with_the_two_imports_of_the_readme(tmp_path):
    """Also compiled ones, and ones with regularisers: all in one process, since each takes seconds to start."""
    import keras

    import keras_s4
    from keras_s4.regularizers import HankelNorm, NuclearNorm

    classifier = keras_s4.models.classifier((20, 3), 2, channels=4, states=2, blocks=1)
    keras_s4.training.compile_classifier(classifier, steps=1).save(tmp_path / "compiled.keras")
    layers = [
        keras.Input((20, 3)),
        keras_s4.layers.DSS(2, state_regularizer=HankelNorm(1e-3)),
        keras.layers.Dense(2, kernel_regularizer=NuclearNorm(1e-3)),
    ]
    keras.Sequential(layers).save(tmp_path / "regularised.keras")
    code = (
        "import keras, keras_s4; "
        f"load = lambda name: keras.saving.load_model({str(tmp_path)!r} + name); "
        "print(load('/compiled.keras').loss.name, load('/regularised.keras').layers[1].kernel_regularizer.weight)"
    )
    assert run(code) == "smoothed_crossentropy 0.001"
    code = f"from keras_s4 import reduce; import keras; keras.saving.load_model({str(tmp_path / 'compiled.keras')!r})"
    run(code)  # whatever is imported first


def test_every_name_that_is_offered_exists():
    import keras_s4

    for name in keras_s4.__all__:
        assert getattr(keras_s4, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = keras_s4.nothing
