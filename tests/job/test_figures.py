import io
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from tasks import sines

from keras_s4 import plots
from keras_s4.job import figures


def pixels_of(figure):
    """Fails where it cannot be drawn."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    content.seek(0)
    return image.imread(content)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize(("score", "label"), [("accuracy", "accuracy on"), ("rmse", "root mean square error on")])
def test_score_against_size_shows_every_rank(score, label):
    points = [{"rank": rank, score: 0.2 * rank, "tflite_bytes": 1024 * rank} for rank in (1, 2, 4)]
    ends = {name: {score: 0.9, "tflite_bytes": 8192} for name in ("trained", "retrained")}
    figure = figures.score_against_size({"truncated": points, **ends}, score)
    assert pixels_of(figure).std() > 0
    assert {"1", "2", "4"} <= {text.get_text() for text in figure.axes[0].texts}
    assert label in texts(figure)
    line = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(line, np.array([0.2, 0.4, 0.8, 0.9]) * (100 if score == "accuracy" else 1))


def test_confusion_matrix_prints_counts_and_colours_shares():
    counts = np.array([[11, 2], [3, 140]])
    figure = figures.confusion_matrix(counts, ["left", "right"])
    assert {"11", "2", "3", "140", "left", "right"} <= set(texts(figure).split())
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, 100.0 * counts / counts.sum(axis=1, keepdims=True))


def test_a_class_without_windows_has_no_share():
    figure = figures.confusion_matrix([[0, 0], [1, 3]], ["left", "right"])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array()[0], [0, 0])


@pytest.mark.parametrize("steps", [50, 150])
def test_streamed_recording_has_units_and_classes(steps):
    random = np.random.default_rng(0)
    task = sines(classes=("A", "B", "C")).figures()
    figure = figures.streamed_recording(
        random.normal(size=(steps, 6)), random.dirichlet([1, 1, 1], steps), np.array(1), task
    )
    assert pixels_of(figure).std() > 0
    for text in ("height\n(m)", "speed\n(m/s)", "time (s)", "B (true)", "of class B"):
        assert text in texts(figure)
    assert texts(figure).count("reset") == (steps - 1) // task["length"]
    assert figure.axes[-1].get_xlim() == (0, steps / task["rate"])


def test_outputs_of_blocks_stand_where_each_block_ends():
    """Of four steps each, at 20 a second; what is true of each step is shown there as well."""
    task = sines(targets=("lift",)).figures()
    truth, outputs = np.arange(60.0)[:, None], np.arange(15.0)[:, None]
    figure = figures.streamed_recording(np.zeros((60, 6)), outputs, truth, task)
    found, true = figure.axes[-1].lines[:2]
    np.testing.assert_allclose(found.get_xdata(), np.arange(3, 60, 4) / 20)
    np.testing.assert_allclose(found.get_ydata(), np.arange(15))
    np.testing.assert_allclose(true.get_ydata(), np.arange(3, 60, 4))


def test_streamed_quantities_are_beside_what_they_are():
    task = sines(targets=("speed", "slope"), rate=None).figures()
    outputs = np.random.default_rng(0).normal(size=(60, 2))
    figure = figures.streamed_recording(np.zeros((60, 6)), outputs, np.array([0.5, -1.0]), task)
    assert pixels_of(figure).std() > 0
    assert {"step", "speed", "slope"} <= set(texts(figure).split())
    levels = [line.get_ydata()[0] for line in figure.axes[-1].lines if len(line.get_ydata()) == 2]
    assert levels == [0.5, -1.0]


NAMES = ["$a_b^c", "$x$", "_hidden", "50 % & #1 \\alpha", "two\nlines\x00", "a$b$c$"]
SHOWN = ["$a_b^c", "$x$", " _hidden", "50 % & #1 \\alpha", "two?lines?", "a$b$c$"]


def words_in_svg(figure):
    """What a figure shows, as a reader of the file finds it."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        tree = ElementTree.fromstring(plots.draw(figure))
    return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_names_are_text_and_no_formulas():
    counts = np.eye(len(NAMES), dtype=int)
    words = words_in_svg(figures.confusion_matrix(counts, NAMES))
    assert {name.strip() for name in SHOWN} <= {word.strip() for word in words if word}


def test_every_class_is_in_the_legend():
    probabilities = np.full((50, len(NAMES)), 1 / len(NAMES))
    task = sines(classes=tuple(NAMES)).figures()
    figure = figures.streamed_recording(np.zeros((50, 6)), probabilities, np.array(0), task)
    words = [word.strip() for word in words_in_svg(figure) if word]
    assert {name.strip() for name in SHOWN[1:]} <= set(words)
    assert "$a_b^c (true)" in words
