import pytest

from keras_s4.datasets import read_task

TASK = """
[task]
name = "rows"
[recordings]
folder = "."
path = "rec*.csv"
rate = 50.0
[labels]
source = "table"
table = "labels.csv"
file = "file"
column = "label"
[groups]
source = "table"
column = "person"
name = "person"
[windows]
seconds = 0.2
"""


def test_a_recording_without_a_row_in_the_table_is_named(tmp_path):
    for index in range(3):
        lines = [f"{value},{value * index}" for value in range(40)]
        (tmp_path / f"rec{index}.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    (tmp_path / "labels.csv").write_text("file,label,person\nrec0.csv,x,p\nrec1.csv,y,q\n")
    (tmp_path / "task.toml").write_text(TASK)
    with pytest.raises(ValueError, match=r"rec2\.csv has no person \(group\) in the table of labels; expected a row"):
        _ = read_task(tmp_path / "task.toml").splits
