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
    np.savez(path, signal=np.ones((20, 6)), outputs=np.full((20, 2), 0.5), label=1)
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
    summary["task"] |= {"classes": [name, name], "name": name, "title": name, "purpose": name, "group": name}
    page = Page(report.render(summary, {name: SPECTRA["block_1/dss"]}, stream))
    assert "script" not in page.tags
    for text in (name, f"{name} on a microcontroller", f"{name}s"):
        assert text in page.words


def test_same_run_gives_the_same_page(stream):
    assert report.render(SUMMARY, SPECTRA, stream) == report.render(SUMMARY, SPECTRA, stream)


def test_difference_between_emulator_and_tflm_stands_out(stream):
    summary = copy.deepcopy(SUMMARY)
    summary["comparison"] |= {"bit_exact": False, "first_difference": "pooling/sum[3] of sequence 1 at step 7"}
    assert report.state_verdict(summary).startswith(
        "EMULATOR, TFLM AND C DIFFER: pooling/sum[3] of sequence 1 at step 7."
    )
    assert re.search(r'class="verdict bad"', report.render(summary, SPECTRA, stream))


def test_damaged_recording_is_named(stream):
    stream.write_bytes(stream.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"stream.npz is damaged .*Delete it"):
        report.render(SUMMARY, SPECTRA, stream)


@pytest.mark.parametrize(
    ("length", "rate", "words"),
    [
        (500, 50.0, "10 seconds"),
        (50, 50.0, "1 second"),
        (75, 50.0, "1.5 seconds"),
        (10, 50.0, "200 milliseconds"),
        (1028, None, "1,028 steps"),
    ],
)
def test_length_of_a_window_in_words(length, rate, words):
    assert report.describe_window({"length": length, "rate": rate}) == words


def test_the_page_says_what_the_task_says(stream):
    page = report.render(SUMMARY, SPECTRA, stream)
    words = " ".join(" ".join(Page(page).words).split())
    assert "Seven sines told apart on a microcontroller" in words
    assert "trained to recognise which of seven sines a wave is;" in words
    assert "on buoys that the training had never seen" in words
    assert "windows of 3 seconds of the test buoys (3, 4)" in words
    assert "A: a <wave>." in words


def test_many_groups_are_counted(stream):
    summary = SUMMARY | {"groups": {"train": list(range(1000)), "validation": [2], "test": [3, 4]}}
    assert "1,000 buoys" in Page(report.render(summary, SPECTRA, stream)).words
