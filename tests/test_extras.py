"""Packages that need not be installed: declared as extras, imported late, asked for by name where they are missing."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_architecture import modules

from keras_s4 import extras

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Where the name of a package is not that of its distribution.
DISTRIBUTIONS = {
    "elftools": "pyelftools",
    "keras_tuner": "keras-tuner",
    "sklearn": "scikit-learn",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
    "tflite_micro": "tflite-micro",
}
# Modules for contributors, who have installed the extra dev.
OF_CONTRIBUTORS = re.compile(r"testing\.(targets\b|step_files).*")
# Loaded already where these modules run: the backend, a figure, what has read the file.
THERE_ALREADY = {
    "jax": r".*",
    "matplotlib": r"plots",
    "pandas": r"recordings\.times",
    "pyarrow": r"recordings\.readers\.parquet_files",
}


def names_of(requirements):
    return {re.match(r"[\w.-]+", text).group() for text in requirements}


CORE = names_of(PROJECT["dependencies"])
OPTIONAL = {extra: names_of(lines) for extra, lines in PROJECT["optional-dependencies"].items()}


def distribution_of(package):
    return DISTRIBUTIONS.get(package, package)


def packages_of(node):
    """The packages, not ours and not Python's, that an import statement names."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    packages = {name.partition(".")[0] for name in names}
    return packages - set(sys.stdlib_module_names) - {"keras_s4", "__future__"}


def asked_for(call):
    """The extra of a call of `needed_for`, if it is one."""
    if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("needed_for"):
        return ast.literal_eval(call.args[1])
    return None


def imports_of(tree):
    """Each import of a package: its name, its line, the extra that `needed_for` names around it; None of type hints."""
    found = []

    def walk(node, extra, late):
        if isinstance(node, ast.With):
            extra = next((name for item in node.items if (name := asked_for(item.context_expr))), extra)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.extend((package, node.lineno, extra, late) for package in packages_of(node))
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            walk(child, extra, late)

    walk(tree, None, False)
    return found


def test_what_is_imported_is_declared_and_what_is_optional_says_its_extra():
    """Core modules import core packages alone; of others they name the extra, in a `needed_for` around the import."""
    wrong, seen = [], set()
    for module, path in modules().items():
        if OF_CONTRIBUTORS.fullmatch(module):
            continue
        for package, line, extra, late in imports_of(ast.parse(path.read_text())):
            distribution = distribution_of(package)
            seen.add(distribution)
            there = late and re.fullmatch(THERE_ALREADY.get(package, "-"), module)
            if distribution not in CORE and not there and distribution not in OPTIONAL.get(extra, ()):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {package} (extra: {extra})")
    assert not wrong
    assert CORE - seen <= {"tflite-micro"}  # of TFLM on the host
    assert {"keras-tuner", "matplotlib", "tensorflow-model-optimization"} <= seen


def test_extras_are_those_of_the_project():
    for extra, packages in extras.EXTRAS.items():
        assert {distribution_of(name) for name in packages} == OPTIONAL[extra]
    everything = re.fullmatch(r"keras-s4\[(.*)\]", PROJECT["optional-dependencies"]["all"][0]).group(1)
    assert set(everything.split(",")) == set(extras.EXTRAS) - {"jax"}
    for script in ("demo", "test"):
        assert re.search(r"setup.sh\" (?:[\w,]+,)?all\b", (ROOT / "scripts" / f"{script}.sh").read_text())


def test_nothing_that_all_users_install_pins_tensorflow():
    """tf_keras does, to one minor version; it must come with aware training alone."""
    assert not {"tf_keras", "tensorflow-model-optimization"} & CORE
    assert [extra for extra, names in OPTIONAL.items() if "tf_keras" in names] == ["qat"]
    assert not [line for line in PROJECT["dependencies"] if "<" in line or "==" in line.partition(";")[0]]


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "search", ("json", "no_such_package", "nor_this"))
    assert extras.missing_packages("search") == ("no_such_package", "nor_this")
    with pytest.raises(ModuleNotFoundError, match=r"Searches need no_such_package and nor_this, which are not .*\[sea"):
        extras.require("search", "Searches")
    extras.require("search", "Searches", "json")
    with (
        pytest.raises(
            ModuleNotFoundError, match=r"Figures need no_such_package, which is not installed: pip install 'k"
        ),
        extras.needed_for("Figures", "report"),
    ):
        import no_such_package  # noqa: F401


def test_a_broken_package_is_named_with_its_reason():
    with (
        pytest.raises(ImportError, match=r"Figures need matplotlib, whose import fails: a library\. Reinstall: pip"),
        extras.needed_for("Figures", "report"),
    ):
        raise ImportError("a library")


HIDDEN = """
import sys
HIDDEN = {"keras_tuner", "tensorboard", "tensorflow_model_optimization", "tf_keras", "matplotlib", "pandas", "pyarrow",
          "seglearn", "jax"}
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""

WITHOUT_EXTRAS = """
import numpy as np, keras, keras_s4, pathlib
from keras_s4 import plots
from keras_s4.tflite import convert
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x = rng.normal(size=(24, 12, 3)).astype("float32")
y = (x.mean((1, 2)) > 0).astype(int)
model = keras_s4.models.classifier((12, 3), 2, channels=4, states=4, blocks=1)
keras_s4.training.compile_classifier(model, 2, jit_compile=False)
model.fit(x, y, batch_size=12, epochs=5, verbose=0)
reduced = keras_s4.reduce(model, 2)
score = keras_s4.compression.score_on(x, y)
print(sorted(keras_s4.rank_tuning(model, score, relative_loss=0.9, progress=False, polish=False).ranks))
firmware = convert(reduced, x)
print(str(firmware.verify(reduced, x, y)) != "")
firmware.save("firmware")
print((pathlib.Path("firmware") / "c99" / "model.c").is_file(), plots.can_draw())
def said(use):
    try:
        use()
    except ImportError as error:
        print(error)
said(lambda: keras_s4.search)
said(lambda: keras_s4.quantize_aware(model, x))
said(lambda: plots.spectra({"a": {"spectrum": [1.0], "channel_spectra": [], "rank": 1}}))
said(lambda: keras_s4.datasets.smartwatch())
from typer.testing import CliRunner
from keras_s4.cli.commands import app
model.save("model.keras")
np.savez("data.npz", x=x, y=y, x_validation=x, y_validation=y)
def called(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    print(result.exit_code, " ".join(result.output.split()))
called("tune", "model.keras", "data.npz", "out", "--by", "random", "--trials", 1)
called("reduce", "model.keras", "small.keras", "--rank", 2, "--figure", "spectra.svg")
called("reduce", "model.keras", "small.keras", "--rank", 2)
called("tune", "model.keras", "data.npz", "tuned", "--relative-loss", 0.9)
"""


def test_without_extras_the_core_works_and_the_rest_says_what_is_missing(tmp_path):
    command = [sys.executable, "-c", HIDDEN + WITHOUT_EXTRAS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert "dss" in lines[0], lines[0]
    assert lines[1:3] == ["True", "True False"]
    for line, extra in zip(lines[3:7], ("search", "qat", "report", "data"), strict=True):
        assert line.endswith(f"pip install 'keras-s4[{extra}]'"), line
    assert [line[:2] for line in lines[7:]] == ["1 ", "1 ", "0 ", "0 "], lines[7:]
    for line, extra in zip((lines[7], lines[8], lines[10]), ("search", "report", "report"), strict=True):
        assert f"pip install 'keras-s4[{extra}]'" in line, line
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "tuned" / "pareto.svg").exists()
