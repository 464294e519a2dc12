import io
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib import image

from keras_s4 import plots


def drawn(figure):
    """The figure as pixels: fails where it cannot be drawn."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    content.seek(0)
    return image.imread(content)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_spectra_mark_the_rank_that_was_kept():
    part = {"spectrum": [1.0, 0.1, 0.01], "channel_spectra": [[1.0, 0.1, 0.0]], "rank": 2}
    figure = plots.spectra({"block_1/dss": part, "block_2/dss": part})
    assert drawn(figure).std() > 0
    assert "block_2/dss" in texts(figure)
    assert "kept: 2 of 3" in texts(figure)


def test_accuracy_against_size_shows_every_rank():
    points = [{"rank": rank, "accuracy": 0.2 * rank, "tflite_bytes": 1024 * rank} for rank in (1, 2, 4)]
    ends = {name: {"accuracy": 0.9, "tflite_bytes": 8192} for name in ("trained", "retrained")}
    figure = plots.accuracy_against_size({"truncated": points, **ends})
    assert drawn(figure).std() > 0
    assert {"1", "2", "4"} <= {text.get_text() for text in figure.axes[0].texts}


def test_confusion_matrix_prints_every_count():
    counts = np.array([[11, 2], [3, 14]])
    words = texts(plots.confusion_matrix(counts, ["left", "right"])).split()
    assert {"11", "2", "3", "14", "left", "right"} <= set(words)


@pytest.mark.parametrize("steps", [100, 250])
def test_streamed_recording_has_units_and_classes(steps):
    random = np.random.default_rng(0)
    figure = plots.streamed_recording(
        random.normal(size=(steps, 6)), random.dirichlet([1, 1, 1], steps), 1, ["A", "B", "C"], 50.0, 100
    )
    assert drawn(figure).std() > 0
    assert "rad/s" in texts(figure)
    assert "time (s)" in texts(figure)
    assert "B (true)" in texts(figure)


NAMES = ["$a_b^c", "$x$", "_hidden", "50 % & #1 \\alpha", "two\nlines\x00", "a$b$c$"]
SHOWN = ["$a_b^c", "$x$", " _hidden", "50 % & #1 \\alpha", "two?lines?", "a$b$c$"]


def words_in_svg(figure):
    """What a figure shows, as a reader of the file finds it."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        tree = ElementTree.fromstring(plots.drawn(figure))
    return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_names_are_text_and_no_formulas():
    counts = np.eye(len(NAMES), dtype=int)
    words = words_in_svg(plots.confusion_matrix(counts, NAMES))
    assert {name.strip() for name in SHOWN} <= {word.strip() for word in words if word}
    part = {"spectrum": [1.0, 0.1], "channel_spectra": [], "rank": 1}
    words = words_in_svg(plots.spectra(dict.fromkeys(NAMES, part)))
    assert {name.strip() for name in SHOWN} <= {word.strip() for word in words if word}


def test_every_class_is_in_the_legend():
    probabilities = np.full((50, len(NAMES)), 1 / len(NAMES))
    figure = plots.streamed_recording(np.zeros((50, 6)), probabilities, 0, NAMES, 50.0, 25)
    words = [word.strip() for word in words_in_svg(figure) if word]
    assert {name.strip() for name in SHOWN[1:]} <= set(words)
    assert "$a_b^c (true)" in words
