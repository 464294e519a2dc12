import base64
import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from summaries import SUMMARY

from keras_s4.job import report

SPECTRA = {"block_1/dss": {"spectrum": [1.0, 0.1], "channel_spectra": [[1.0, 0.1]], "rank": 1}}


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "stream.npz"
    np.savez(path, signal=np.ones((20, 6)), probabilities=np.full((20, 2), 0.5), label=1, window=10)
    return path


class Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(" ".join(data.split()))


def test_page_needs_no_other_file_and_runs_no_script(stream):
    page = Page(report.render(SUMMARY, SPECTRA, stream))
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert page.tags.count("img") == len(page.addresses) == 4
    for address in page.addresses:
        kind, _, content = address.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert b"</svg>" in base64.b64decode(content)


def test_page_holds_table_settings_and_versions(stream):
    words = Page(report.render(SUMMARY, SPECTRA, stream)).words
    for text in ("Keras trained", "TFLM", "12,345", "50.0%", "–", "retrain epochs", "1 of 4", "3, 4", "<3.15>", "1.5"):
        assert text in words


def test_names_are_text_and_no_markup(stream):
    name = "<script>alert('x')</script> & [red] $a_b$"
    summary = copy.deepcopy(SUMMARY)
    summary["table"][0]["row"] = name
    summary["ranks"] = {name: {"full": 4, "kept": 1}}
    summary["classes"] = [name] * len(summary["classes"])
    page = Page(report.render(summary, {name: SPECTRA["block_1/dss"]}, stream))
    assert "script" not in page.tags
    assert page.words.count(name) == 2


def test_same_run_gives_the_same_page(stream):
    assert report.render(SUMMARY, SPECTRA, stream) == report.render(SUMMARY, SPECTRA, stream)


def test_difference_between_emulator_and_tflm_stands_out(stream):
    summary = copy.deepcopy(SUMMARY)
    summary["comparison"] |= {"bit_exact": False, "first_difference": "pooling/sum[3] of sequence 1 at step 7"}
    assert report.verdict(summary).startswith("EMULATOR, TFLM AND C DIFFER: pooling/sum[3] of sequence 1 at step 7.")
    assert re.search(r'class="verdict bad"', report.render(summary, SPECTRA, stream))


def test_damaged_recording_is_named(stream):
    stream.write_bytes(stream.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"stream.npz is damaged .*Delete it"):
        report.render(SUMMARY, SPECTRA, stream)
