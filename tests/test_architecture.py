"""The house stands as it is drawn: imports run one way, at the top of files, and no circle is hidden.

import-linter would be the library for this; it does not find `keras_s4.tflite`, whose folder pyproject.toml maps.
"""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE = 400

# From the top of the house to its ground. A room imports rooms of lower lines alone; those of one line stand side by
# side and know nothing of each other.
FLOORS = (
    "cli",
    "job",
    "architecture_search",
    "costs",
    "testing",
    "tflite",  # the names that it offers, loaded when they are first used
    "tflite.formats tflite.measuring tflite.quantization tflite.web",
    "tflite.conversion",
    "tflite.firmware",
    "tflite.verification",
    "tflite.analysis tflite.application tflite.manifest",
    "tflite.engines",
    "tflite.runtimes",
    "tflite.emulator tflite.flatbuffer tflite.c99 tflite.lowering",
    "tflite.program",
    "resampling",
    "compression",
    "datasets streaming training",
    "architectures",
    "scoring",
    "surgery",
    "distribution importers models regularizers",
    "augmentation encoders optimizers",
    "layers",
    "initializers",
    "dss",
    "reduction",
    "modal_system",
    "systems",
    "orthonormal",
    "decisions",
    "recordings saved_folder",
    "checks samples padded_sequences files plots weights registration",
    "activation_names backends brief classes errors extras precision tables",
)
# Rooms that know of control theory or integers alone: what they may import of ours, besides themselves.
PLAIN = {"brief", "checks", "errors", "files", "padded_sequences", "samples", "modal_system", "orthonormal", "systems"}
WITHOUT_KERAS = {
    "systems": set(),
    "modal_system": set(),
    "orthonormal": set(),
    "reduction": set(),
    "decisions": {"recordings"},
    "tflite.program": set(),
    "tflite.emulator": {"tflite.program"},
    "tflite.flatbuffer": {"tflite.program"},
    "tflite.c99": {"tflite.program"},
}


@functools.cache
def modules() -> dict[str, Path]:
    """The file of each module, by its name behind "keras_s4."; a package by that of its folder."""
    found = {path.relative_to(ROOT / "keras_s4"): path for path in ROOT.glob("keras_s4/**/*.py")}
    found |= {path.relative_to(ROOT): path for path in ROOT.glob("tflite/**/*.py")}
    return {".".join(key.with_suffix("").parts).removesuffix(".__init__"): path for key, path in found.items()}


def imported(tree: ast.AST) -> set[str]:
    """Our modules that the import statements below a node name."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_s4":
            inside = node.module.removeprefix("keras_s4").removeprefix(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".removeprefix(".")
                found.add(name if name in modules() else inside or "__init__")
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.removeprefix("keras_s4.") for alias in node.names if alias.name.startswith("keras_s4.")
            }
    return found


@functools.cache
def imports() -> dict[str, set[str]]:
    return {name: imported(ast.parse(path.read_text())) for name, path in modules().items()}


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "tflite" else parts[0]


def test_every_module_stands_in_a_room_that_is_drawn():
    drawn = {room for floor in FLOORS for room in floor.split()}
    assert {room_of(name) for name in modules()} - {"__init__"} == drawn


def test_imports_run_downwards():
    heights = {room: height for height, floor in enumerate(FLOORS) for room in floor.split()}
    heights["__init__"] = -1
    arrows = [(name, other) for name, others in imports().items() for other in others]
    assert len(arrows) > 500
    assert not [
        f"{name} imports {other}"
        for name, other in arrows
        if room_of(name) != room_of(other) and heights[room_of(other)] <= heights[room_of(name)]
    ]


def test_no_circle_of_modules():
    """Modules without imports of ours are taken away, again and again; what is left imports each other."""
    left = {name: others & set(modules()) - {name} for name, others in imports().items()}
    left = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in left.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_any_module_can_be_the_first_that_is_imported():
    """A module of a package loads that package first: no circle goes through one from outside."""
    known = set(modules())

    def packages_of(name):
        parts = name.split(".")
        return {".".join(parts[:count]) for count in range(1, len(parts))}

    left = {
        name: {part for other in others & known for part in (packages_of(other) & known) | {other}}
        - packages_of(name)
        - {name}
        for name, others in imports().items()
    }
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left


# The check of the backend imports Keras, which is what this module waits for.
ALLOWED_INSIDE = {"registration": {"backends"}}


def test_imports_stand_at_the_top():
    """In functions there are imports of heavy packages at most, and none of ours; nor behind TYPE_CHECKING."""
    hidden = {}
    for name, path in modules().items():
        tree = ast.parse(path.read_text())
        inside = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        found = {other for node in inside if node not in tree.body for other in imported(node)}
        if found - ALLOWED_INSIDE.get(name, set()):
            hidden[name] = found
    assert not hidden


@pytest.mark.parametrize("room", WITHOUT_KERAS)
def test_rooms_without_keras_import_plain_rooms_alone(room):
    others = {room_of(other) for name in modules() if room_of(name) == room for other in imports()[name]} - {room}
    assert others <= PLAIN | WITHOUT_KERAS[room]


def test_programs_and_control_theory_load_without_keras_and_tensorflow():
    rooms = [name for name in modules() if room_of(name) in WITHOUT_KERAS]
    code = "import sys, importlib\n" + "".join(f"import keras_s4.{name}\n" for name in rooms)
    code += "print({'keras', 'tensorflow', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_modules_are_about_one_thing():
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > LONGEST_MODULE}


def test_every_test_module_has_a_name_of_its_own():
    """Folders of tests are no packages, and pytest then collects one module of a name."""
    names = [path.name for folder in ("tests", "firmware_tests") for path in (ROOT / folder).rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
