import io
from xml.etree import ElementTree

import matplotlib
from matplotlib import image

from keras_s4 import plots


def pixels_of(figure):
    """Fails where it cannot be drawn."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    content.seek(0)
    return image.imread(content)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_spectra_mark_the_rank_that_was_kept():
    part = {"spectrum": [1.0, 0.1, 0.01], "channel_spectra": [[1.0, 0.1, 0.0]], "rank": 2}
    figure = plots.spectra({"block_1/dss": part, "block_2/dss": part})
    assert pixels_of(figure).std() > 0
    assert "block_2/dss" in texts(figure)
    assert "kept: 2 of 3" in texts(figure)


NAMES = ["$a_b^c", "$x$", "_hidden", "50 % & #1 \\alpha", "two\nlines\x00", "a$b$c$"]
SHOWN = ["$a_b^c", "$x$", " _hidden", "50 % & #1 \\alpha", "two?lines?", "a$b$c$"]


def words_in_svg(figure):
    """What a figure shows, as a reader of the file finds it."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        tree = ElementTree.fromstring(plots.draw(figure))
    return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_names_are_text_and_no_formulas():
    part = {"spectrum": [1.0, 0.1], "channel_spectra": [], "rank": 1}
    words = words_in_svg(plots.spectra(dict.fromkeys(NAMES, part)))
    assert {name.strip() for name in SHOWN} <= {word.strip() for word in words if word}
