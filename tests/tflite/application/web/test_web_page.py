"""The page as a text: what it needs, what it names, and what is refused before anything is compiled."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from test_application_firmware import several
from web_models import ACCELERATION, CLASSES, DECISION, listener, movements, wearable

from keras_s4 import extras
from keras_s4.tflite import Replay, web_page
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.web.bundle import bundle
from keras_s4.tflite.application.web.packing import pack
from keras_s4.tflite.application.web.page import TEMPLATES
from keras_s4.tflite.application.web.recordings import pack_replays, replays_of
from keras_s4.tflite.program.interface import Interface

pytest.importorskip("ziglang")


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the texts in them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.open = [], {}, ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open = dict(attributes).get("id") or tag
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts[self.open] = self.texts.get(self.open, "") + data


@pytest.fixture(scope="module")
def page():
    return web_page(wearable(), movements(2, 1), decision=DECISION, features=ACCELERATION, title="A <b> & </script>")


def test_nothing_is_loaded_and_nothing_can_be(page):
    tags = Tags(page).tags
    assert not [tag for tag, _ in tags if tag in ("link", "img", "iframe", "object", "embed", "base", "form", "source")]
    assert not [attributes for _, attributes in tags if {"src", "href", "srcset", "action"} & set(attributes)]
    assert not re.findall(r"https?://[^\s\"'`]*", page)
    assert "@import" not in page and "url(" not in page
    (policy,) = [each["content"] for _, each in tags if each.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy


def test_names_are_text_and_no_markup(page):
    found = Tags(page)
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert [found.texts[tag].strip() for tag in ("title", "h1")] == ["A <b> & </script>"] * 2


def test_names_of_classes_do_not_end_the_script_that_they_are_in():
    name = "</script><script>alert(1)</script>"
    found = Tags(web_page(wearable(), outputs=("<!--", name, "c")))
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert json.loads(found.texts["data"])["outputs"][0]["names"][1] == name


def test_every_control_has_a_name(page):
    """A label around it or a text in it, for those who hear the page."""
    controls = re.findall(r"(<label>[^\n]*)?<(input|select|button)([^>]*)>([^<]*)", page)
    assert len(controls) > 10
    for label, tag, attributes, text in controls:
        assert label or text.strip() or "aria-label" in attributes, (tag, attributes)


def test_the_same_arguments_give_the_same_page(page):
    again = web_page(wearable(), movements(2, 1), decision=DECISION, features=ACCELERATION, title="A <b> & </script>")
    assert page == again


def test_a_saved_page_replays_what_it_is_given(tmp_path):
    saved = wearable().save(tmp_path / "page", project="web", decision=DECISION, recordings=movements(20, 1))
    text = (saved / "index.html").read_text()
    assert all(f'"recording {index}"' in text for index in range(1, 13)) and '"recording 13"' not in text
    assert "adb reverse" in (saved / "README.md").read_text()


def test_all_modules_are_in_the_bundle_those_that_are_needed_first():
    script = bundle(TEMPLATES, "page")
    places = {path.stem: script.index(f"const {path.stem}Module = ") for path in TEMPLATES.glob("*.js")}
    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    for path in TEMPLATES.glob("*.js"):
        for needed in re.findall(r'from "\./(\w+)\.js"', path.read_text()):
            assert places[needed] < places[path.stem]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -128], "int8"),
        ([True, False], "int8"),
        ([128], "int16"),
        ([-40_000], "int32"),
        ([0.5, np.nan], "float32"),
        ([0.1], "float64"),
        ([1e300], "float64"),
    ],
)
def test_numbers_are_packed_in_the_least_type_that_holds_them(values, kind):
    assert pack(values)["type"] == kind


def test_whole_numbers_beyond_32_bits_are_refused():
    with pytest.raises(ValueError, match="expected whole numbers of 32 bits"):
        pack([2**31])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rate": 0.0}, "rate=0.0; expected samples a second"),
        ({"horizon": -1}, "horizon=-1"),
        ({"horizon": 2}, "horizon=2 of 3 features; the model gives 3 numbers"),
        ({"features": ("x", "y")}, r"2 features \(x, y\); the model takes 3"),
        ({"features": (3, 4, 5)}, "feature 3; expected a name"),
        ({"outputs": ("one", "two")}, "2 names of outputs"),
        ({"recordings": np.zeros((2, 5, 4))}, "expected"),
        ({"recordings": Replay(np.zeros((5, 3)), truth=[0, 1])}, "5 samples and 2 labels"),
        ({"recordings": Replay(np.zeros((5, 3)), truth="hopping"), "outputs": CLASSES}, "label 'hopping'"),
        ({"recordings": Replay(np.full((5, 3), np.nan))}, "NaN"),
        ({"recordings": Replay(np.zeros((1_400_000, 3)))}, "recordings of 4,200,000 numbers"),
    ],
)
def test_what_a_page_cannot_show_is_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        web_page(wearable(), **arguments)


def test_recordings_are_for_pages_alone(tmp_path):
    with pytest.raises(ValueError, match='recordings without project="web"'):
        wearable().save(tmp_path / "saved", recordings=movements(1, 1))
    with pytest.raises(ValueError, match="recordings with project='make'"):
        wearable().save(tmp_path / "saved", project="make", recordings=movements(1, 1))
    assert not (tmp_path / "saved").exists()


def test_without_the_compiler_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "_is_installed", lambda name: name != "ziglang")
    with pytest.raises(ModuleNotFoundError, match=r"need ziglang, .*pip install 'keras-s4\[web\]'"):
        web_page(listener())
    with pytest.raises(ModuleNotFoundError, match="need ziglang"):
        listener().save(tmp_path / "saved", project="web")
    assert not (tmp_path / "saved").exists()


def unpacked(recording, columns):
    return np.frombuffer(base64.b64decode(recording["samples"]["data"]), recording["samples"]["type"]).reshape(
        -1, columns
    )


def test_recordings_of_several_inputs_are_given_in_order_or_by_name():
    program = several()
    random = np.random.default_rng(0)
    fast, slow, words = random.normal(size=(2, 9, 3)), random.normal(size=(2, 9, 4)), random.integers(0, 5, (2, 9))
    expected = [np.concatenate([fast[i], slow[i], words[i][:, None]], axis=1) for i in range(2)]
    names = {"class": fast, "slow": slow, "words": words}
    single = {name: array[0] for name, array in names.items()}
    for given in (
        [fast, slow, words],
        names,
        [Replay([fast[0], slow[0], words[0]]), Replay({name: array[1] for name, array in names.items()})],
    ):
        packed = pack_replays(replays_of(given, program, golden_vectors(program)), program, (), True)
        for recording, samples in zip(packed, expected, strict=True):
            np.testing.assert_array_equal(unpacked(recording, 8), samples)
    with pytest.raises(ValueError, match="slow"):
        pack_replays([Replay(single | {"slow": slow[0][:, :2]})], program, (), True)


def test_golden_vectors_are_replayed_as_the_integers_that_they_are():
    """Where nobody gives recordings: through real numbers and back."""
    program = several()
    golden = golden_vectors(program)
    packed = pack_replays(replays_of(None, program, golden), program, (), True)
    assert len(packed) == len(golden.inputs[0])
    for stream, recording in enumerate(packed):
        real = np.split(unpacked(recording, 8), [3, 7], axis=1)
        interface = Interface(program)
        integers = interface.quantize([each[None] for each in real[:2]] + [real[2][None, :, 0]], whole=False)
        for found, array in zip(integers, golden.inputs, strict=True):
            np.testing.assert_array_equal(found[0], array[stream])


@pytest.mark.parametrize(
    ("truth", "classes", "exclusive", "spans"),
    [
        (1, ("a", "b"), True, [[0, 5, 1]]),
        ("b", ("a", "b"), True, [[0, 5, 1]]),
        ([0, 0, -1, 1, 1], ("a", "b"), True, [[0, 2, 0], [3, 5, 1]]),
        (["a", "b", "b", "b", "a"], ("a", "b"), True, [[0, 1, 0], [1, 4, 1], [4, 5, 0]]),
        ([1, 0], ("a", "b"), False, [[0, 5, 0]]),
        ([[1, 0], [1, 1], [0, 1], [0, 0], [1, 0]], ("a", "b"), False, [[0, 2, 0], [4, 5, 0], [1, 3, 1]]),
    ],
)
def test_labels_become_stretches_of_time(truth, classes, exclusive, spans):
    program = wearable().program
    (packed,) = pack_replays([Replay(np.zeros((5, 3)), truth=truth)], program, classes, exclusive)
    assert packed["truth"]["spans"] == spans


def test_quantities_are_kept_for_each_step_or_for_all():
    program = wearable().program
    for truth, times in ((2.5, [1, 5]), (np.arange(5.0)[:, None], [1, 2, 3, 4, 5])):
        (packed,) = pack_replays([Replay(np.zeros((5, 3)), truth=truth)], program, (), True)
        assert packed["truth"]["columns"] == 1
        assert packed["truth"]["times"] == pack(times)
        assert packed["truth"]["values"] == pack(np.broadcast_to(truth, (len(times), 1)).astype(float))
