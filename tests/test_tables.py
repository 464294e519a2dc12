"""Printed tables: nothing is cut off, nothing is wider than it must be."""

import numpy as np
import pytest
from rich import box
from rich.table import Column, Table

from keras_s4.compression import ErrorBound
from keras_s4.compression.evaluations import Evaluation
from keras_s4.compression.method_choice import OUTPUTS, MethodChoice
from keras_s4.compression.rank_tuning import RankTuning
from keras_s4.tables import FOLDED, WIDTH, text_of, whole_width
from keras_s4.tflite.analysis import Analysis

WORDS = "an error that is told in so many words that no terminal is wide enough for it, and in some more"


def rows_of(text):
    """The cells of each line of a framed table."""
    return [line[1:-1].replace("┃", "│").split("│") for line in text.splitlines() if line[:1] in ("│", "┃")]


def assert_as_narrow_as_possible(text):
    """In every column one cell at least fills it, but for a space on either side."""
    columns = list(zip(*rows_of(text), strict=True))
    assert columns
    for cells in columns:
        assert max(len(cell.strip()) for cell in cells) + 2 == len(cells[0])


def table_of(*rows, **options):
    table = Table(*rows[0], **options)
    for row in rows[1:]:
        table.add_row(*row)
    return table


class TestNarrow:
    def test_a_small_table_is_as_narrow_as_its_cells(self):
        text = text_of(table_of(("part", "rank"), ("block_1/dss", "3")))
        assert text.splitlines()[0] == "┏━━━━━━━━━━━━━┳━━━━━━┓"
        assert_as_narrow_as_possible(text)

    def test_title_caption_and_sentences_are_not_squeezed_into_it(self):
        table = table_of(("a", "b"), ("1", "2"), title="A title wider than that", caption=f"First.\n{WORDS}")
        lines = text_of(table, "Something else.").splitlines()
        assert lines[0] == "A title wider than that" and lines[-1] == "Something else."
        assert lines[6] == "First." and " ".join(lines[7:-1]) == WORDS and len(lines) == 10
        assert max(map(len, lines)) <= WIDTH

    def test_title_stands_over_the_middle(self):
        assert text_of(table_of(("part", "bytes"), title="Ranks")).splitlines()[0] == "     Ranks"

    def test_nothing_stands_behind_the_last_character(self):
        table = table_of(("a", "b"), ("1", ""), ("", "2"), title="T", box=box.SIMPLE_HEAD, caption="C\n\nD")
        assert all(line == line.rstrip() for line in text_of(table).splitlines())

    def test_names_are_no_markup(self):
        text = text_of(table_of(("a",), ("[red]x[/red] :smile:",), title="[b]"), "[/i] :smile:")
        assert text.count(":smile:") == 2 and "[red]x[/red]" in text and "[b]" in text and "[/i]" in text


class TestWide:
    def test_sentences_are_folded_where_words_end(self):
        text = text_of(table_of(("part", "note"), ("block_1/dss", WORDS)))
        assert max(map(len, text.splitlines())) == WIDTH
        assert " ".join(row[1].strip() for row in rows_of(text)[1:]) == WORDS

    def test_the_widest_columns_are_folded_first(self):
        rows = rows_of(text_of(table_of(("note", "why", "short"), (WORDS, "not to be had on this core", "a b"))))
        assert rows[1][1].strip() == "not to be had on this core" and rows[1][2].strip() == "a b"

    def test_names_and_numbers_are_whole_whatever_it_takes(self):
        names = [f"a_model_of_many_blocks/block_{index}/dss" for index in range(9)]
        text = text_of(table_of(["part", *names], ["balanced", *[f"{index}.1234567" for index in range(9)]], title="T"))
        assert all(name in text for name in names) and "8.1234567" in text and "…" not in text
        assert_as_narrow_as_possible(text)

    def test_short_texts_are_whole_beside_names_that_need_the_room(self):
        name = "name" * WIDTH
        text = text_of(table_of((Column("part"), "note"), (name, "over by 50%, and small"), ("", WORDS)))
        assert name in text and "│ over by 50%, and small" in text
        assert len(rows_of(text)[0][1]) == FOLDED + 2

    def test_columns_that_must_not_be_folded_are_not(self):
        assert WORDS in text_of(table_of((Column("network", no_wrap=True), "note"), (WORDS, WORDS)))

    def test_characters_of_double_width_are_not_cut(self):
        assert "空" * 60 in text_of(table_of(("part",), ("空" * 60,)))

    def test_no_columns_and_no_rows(self):
        assert text_of(Table()).strip() == ""
        assert text_of(table_of(("part", "rank"))).splitlines()[1] == "┃ part ┃ rank ┃"

    def test_the_table_itself_stays_as_it_is(self):
        table = table_of(("part", "note"), ("a", WORDS), title="T", caption="C")
        before = whole_width(table)
        text_of(table)
        assert (table.title, table.caption, whole_width(table)) == ("T", "C", before)
        assert [column.width for column in table.columns] == [None, None]


def error_bound_of(names):
    bound = np.ones((2, 1))
    return ErrorBound({name: (0.25, 1.25) for name in names}, bound, bound / 2, np.array(["certain", "certain"]))


def choice_of(names):
    errors = {"balanced": 0.125, "modal": 0.5}
    return MethodChoice(
        dict.fromkeys(names, "balanced"), 0.125, OUTPUTS, errors, dict.fromkeys(names, errors), {"h2": WORDS}
    )


def tuning_of(names):
    model = Evaluation(dict.fromkeys(names, 4), 0.9, 1234)
    return RankTuning(
        target=0.9,
        ranks=model.ranks,
        individual=model.ranks,
        intact=model,
        joint_individual=model,
        joint=model,
        history=(model,),
        computed=1,
    )


@pytest.mark.parametrize("result_of", [error_bound_of, choice_of, tuning_of])
def test_results_are_as_narrow_as_their_names_and_show_them_whole(result_of):
    for names in (["dss"], [f"a_model_with_an_uncommonly_long_name/block_{index}/dss" for index in range(6)]):
        text = str(result_of(names))
        assert all(name in text for name in names) and "…" not in text
        assert_as_narrow_as_possible(text)
        assert not any(line.endswith(" ") for line in text.splitlines())


def test_an_analysis_folds_its_sentences_below_the_table():
    lines = str(Analysis((), 20.0, 21.0, {}, "", WORDS)).splitlines()
    assert any(line.startswith("output") and line.endswith("21.0") for line in lines)
    assert max(map(len, lines)) <= WIDTH
    assert f"No signal-to-noise ratio is predicted: {WORDS}" in " ".join(lines)
