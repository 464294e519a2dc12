import subprocess
import sys

import pytest


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_control_theory_needs_no_keras():
    code = "import sys, keras_s4.reduction, keras_s4.systems; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert run(code) == "set()"


@pytest.mark.parametrize("module", ["program", "fixed_point", "operators", "flatbuffer_writer"])
def test_the_integer_program_needs_no_tensorflow(module):
    """`keras_s4.tflite` offers `convert`, which needs Keras, and yet its program is quick to load."""
    code = f"import sys, keras_s4.tflite.{module}; print('tensorflow' in sys.modules)"
    assert run(code) == "False"


def test_saved_models_load_with_the_two_imports_of_the_readme(tmp_path):
    path = tmp_path / "model.keras"
    run(
        "import keras, keras_s4; "
        f"keras_s4.models.classifier((20, 3), 2, channels=4, states=2, blocks=1).save({str(path)!r})"
    )
    assert run(f"import keras, keras_s4; print(keras.saving.load_model({str(path)!r}).name)") == "classifier"


def test_compiled_models_load_whatever_is_imported_first(tmp_path):
    path = tmp_path / "model.keras"
    run(
        "import keras, keras_s4; model = keras_s4.models.classifier((20, 3), 2, channels=4, states=2, blocks=1); "
        f"keras_s4.training.compile_classifier(model, steps=1).save({str(path)!r})"
    )
    code = f"from keras_s4 import reduce; import keras; print(keras.saving.load_model({str(path)!r}).loss.name)"
    assert run(code) == "smoothed_crossentropy"


def test_regularised_models_load(tmp_path):
    path = tmp_path / "model.keras"
    run(
        "import keras, keras_s4; from keras_s4.regularizers import HankelNorm, NuclearNorm; "
        "layers = [keras.Input((20, 3)), keras_s4.layers.DSS(2, state_regularizer=HankelNorm(1e-3)), "
        f"keras.layers.Dense(2, kernel_regularizer=NuclearNorm(1e-3))]; keras.Sequential(layers).save({str(path)!r})"
    )
    code = f"import keras, keras_s4; print(keras.saving.load_model({str(path)!r}).layers[1].kernel_regularizer.weight)"
    assert run(code) == "0.001"


def test_every_name_that_is_offered_exists():
    import keras_s4

    for name in keras_s4.__all__:
        assert getattr(keras_s4, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = keras_s4.nothing
