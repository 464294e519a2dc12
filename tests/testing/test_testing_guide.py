from pathlib import Path

ROOM = Path(__file__).parents[2] / "keras_s4" / "testing"


def test_the_guide_names_every_module():
    guide = (ROOM / "README.md").read_text()
    modules = {path.name for path in ROOM.glob("*.py")} - {"__init__.py", "sequence_tasks.py"}
    assert {name for name in modules if f"`{name}`" not in guide} == set()
