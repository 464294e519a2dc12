import io

import matplotlib
import numpy as np
from matplotlib import image
from tasks import sines

from keras_s4.job import stream_figures

LABELS = np.repeat([0, -1, 2, 1], 50)
STEPS = np.arange(9, 200, 10)


def pixels_of(figure):
    """Fails where it cannot be drawn."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    content.seek(0)
    return image.imread(content)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def bars(axes, height):
    """The bars at a height: their starts and widths."""
    found = [each for each in axes.patches if each.get_y() + each.get_height() / 2 == height]
    return [(round(float(each.get_x()), 3), round(float(each.get_width()), 3)) for each in found]


def test_a_stream_of_classes_shows_what_is_true_and_what_is_decided():
    """20 steps a second: changes every 2.5 s, and a decision every half second, the last five of another class."""
    outputs = np.random.default_rng(0).dirichlet([1, 1, 1], len(STEPS))
    decided = np.repeat([0, 1], [15, 5])
    figure = stream_figures.stream_of_classes(LABELS, STEPS, outputs, decided, sines(classes=tuple("ABC")).figures())
    assert pixels_of(figure).std() > 0
    assert bars(figure.axes[1], 1.0) == [(0.0, 2.5), (2.5, 2.5), (5.0, 2.5), (7.5, 2.5)]
    assert bars(figure.axes[1], 0.0) == [(0.5, 7.5), (8.0, 2.5)]
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), 100 * outputs[:, 1])
    for text in ("decided", "true", "time (s)", "A", "C"):
        assert text in texts(figure)


def test_only_the_beginning_of_a_long_stream_is_shown():
    outputs = np.full((len(STEPS), 3), 1 / 3)
    task = sines(classes=tuple("ABC")).figures()
    figure = stream_figures.stream_of_classes(LABELS, STEPS, outputs, np.zeros(20, int), task, seconds=4.0)
    assert figure.axes[1].get_xlim() == (0, 4.0)
    assert len(figure.axes[0].lines[0].get_xdata()) == 8


def test_quantities_are_shown_beside_the_true_ones():
    truth = np.linspace(0, 1, 200, dtype=np.float32)
    figure = stream_figures.stream_of_quantities(
        truth, STEPS, truth[STEPS, None] + 1, sines(targets=("lift",)).figures()
    )
    assert pixels_of(figure).std() > 0
    true, found = figure.axes[0].lines
    np.testing.assert_allclose(true.get_ydata(), truth)
    np.testing.assert_allclose(found.get_ydata(), truth[STEPS] + 1)
    np.testing.assert_allclose(found.get_xdata(), (STEPS + 1) / 20)


def test_threshold_curve_marks_the_choice_and_skips_what_is_unknown():
    rows = [
        {"threshold": 0.2, "recall": 1.0, "f1": 0.5, "false_alarms_per_hour": 60.0, "delay": 1.0},
        {"threshold": 0.9, "recall": 0.5, "f1": 0.6, "false_alarms_per_hour": 0.0, "delay": None},
    ]
    figure = stream_figures.threshold_curve(rows, 0.9)
    assert pixels_of(figure).std() > 0
    found, chosen = figure.axes[0].lines
    np.testing.assert_allclose(found.get_ydata(), [100, 50])
    assert set(chosen.get_xdata()) == {0.9}
    assert np.isnan(figure.axes[1].lines[1].get_ydata()[1])
    assert not matplotlib.rcParams["axes.grid"]
