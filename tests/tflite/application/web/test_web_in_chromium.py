"""Pages in headless Chromium, opened as files: what they say is what Python says, and nothing goes over a network."""

import base64

import numpy as np
import pytest
from browser import chromium, why_missing
from summaries import SUMMARY
from test_application_firmware import tokens
from test_web_readers import wav, written
from web_models import ACCELERATION, CLASSES, DECISION, RATE, listener, movements, sounds, wearable

from keras_s4.job import report
from keras_s4.tflite import Replay, web_page
from keras_s4.tflite.application.golden import golden_vectors
from keras_s4.tflite.application.projects import Export
from keras_s4.tflite.application.web import render_page
from keras_s4.tflite.application.web.golden import integers_of_decisions
from keras_s4.tflite.emulator import Emulator

pytest.importorskip("ziglang")
pytestmark = pytest.mark.skipif(bool(why_missing()), reason=why_missing())

DROP = """
const bytes = Uint8Array.from(atob(given[1]), (character) => character.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], given[0]));
document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
const { page } = await window.device.started;
const message = document.getElementById("message");
while (page.name !== given[0] && message.hidden) await new Promise((resolve) => setTimeout(resolve, 10));
"""
RESULTS = """
await page.player.done;
const { session } = page;
const rows = (numbers) => Array.from({ length: numbers.length }, (_, i) => [...numbers.row(i)]);
return { at: rows(session.resultTimes).flat(), results: rows(session.results), decided: rows(session.decided),
         shown: rows(session.curves[0].values), playing: document.getElementById("playing").textContent };
"""
VIOLATED = """
const violated = new Promise((resolve) =>
  addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective)));
const answer = await fetch("https://example.invalid/").then(() => "came", () => "refused");
return [answer, await violated];
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages by name, as files."""
    folder = tmp_path_factory.mktemp("pages")
    truth = np.repeat([0, 1, 2, -1], 30)
    changing, still = movements(2, 7, 120)
    recordings = [Replay(changing, "changing", truth), Replay(still, "still", "sitting")]
    named = {"features": ("acceleration x", "acceleration y", "acceleration z"), "title": "Movements"}
    texts = {
        "wearable": web_page(wearable(), recordings, decision=DECISION, **named),
        "sensors": web_page(wearable(), decision=DECISION, sensors=ACCELERATION),
        "words": words_page(),
        "nameless": web_page(listener()),
        "listener": web_page(listener(), sounds(2, 3), rate=8000.0, outputs=("a tone", "noise"), features=("sound",)),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def words_page():
    """Of a program of tokens."""
    program = tokens()
    export = Export(program, {"window_length": None}, golden_vectors(program), "model")
    return render_page(export)


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def dropped(browser, name, content, script=RESULTS):
    content = content if isinstance(content, bytes) else content.encode()
    return browser.run(DROP + script, name, base64.b64encode(content).decode())


def table(samples, header=True, rate=RATE):
    rows = [[index / rate, *map(repr, row.tolist())] for index, row in enumerate(samples)]
    return written([["time", "acceleration x", "acceleration y", "acceleration z"], *rows] if header else rows)


def expected_decisions(converted, integers):
    """Outputs at each decision, and what is decided."""
    decider = converted.decider(DECISION)
    outputs = decider.every(Emulator(converted.program).run(integers))[0]
    return outputs, integers_of_decisions(decider.run(outputs))


@pytest.mark.parametrize("name", ["wearable", "sensors", "listener", "words"])
def test_pages_check_themselves_and_complain_of_nothing(browser, pages, name):
    browser.open(pages[name])
    text, detail = browser.run("return ['check', 'check-detail'].map((id) => document.getElementById(id).textContent)")
    assert text.startswith("0 of ") and text.endswith(" integers differ")
    assert int(text.split()[2].replace(",", "")) > 500
    assert "bit for bit" in detail
    assert browser.log() == []


def test_a_report_runs_the_device_in_a_frame(browser, pages, tmp_path):
    stream = tmp_path / "stream.npz"
    np.savez(stream, signal=np.ones((20, 6)), outputs=np.full((20, 2), 0.5), label=1)
    spectra = {"block_1/dss": {"spectrum": [1.0, 0.1], "channel_spectra": [[1.0, 0.1]], "rank": 1}}
    path = tmp_path / "report.html"
    path.write_text(report.render(SUMMARY, spectra, stream, pages["wearable"].read_text()), encoding="utf-8")
    browser.visit(path)
    found = browser.run(
        """
        const frame = document.querySelector("iframe");
        frame.scrollIntoView();
        while (!frame.contentWindow?.device) await new Promise((resolve) => setTimeout(resolve, 20));
        return (await frame.contentWindow.device.started).check;
        """
    )
    assert found["differing"] == 0 and found["integers"] > 500
    assert browser.log() == []


def test_no_connection_can_be_made(browser, pages):
    browser.open(pages["wearable"])
    assert browser.run(VIOLATED) == ["refused", "connect-src"]
    browser.log()


def test_a_dropped_table_gives_the_decisions_of_python(browser, pages):
    samples = movements(1, 9, 300)[0]
    browser.open(pages["wearable"])
    found = dropped(browser, "walk.csv", table(samples))
    converted = wearable()
    outputs, decided = expected_decisions(converted, converted.quantize(samples[None], whole=False))
    np.testing.assert_array_equal(found["results"], outputs)
    np.testing.assert_array_equal(found["decided"], decided)
    assert len(set(decided[:, 0])) > 1
    assert found["at"] == list(range(10, 301, 10))
    assert found["playing"] == "walk.csv · 6.0 s · columns by their names"
    np.testing.assert_allclose(found["shown"], converted.dequantize(outputs), atol=1e-6)


def test_a_table_of_sensors_goes_through_their_integers(browser, pages):
    """As real numbers, and as the integers themselves."""
    raw = np.random.default_rng(0).integers(-9000, 9000, (200, 3))
    converted = wearable()
    outputs, decided = expected_decisions(converted, converted.quantize_raw(raw[None], ACCELERATION))
    browser.open(pages["sensors"])
    integers = "document.getElementById('integers').checked = true;"
    for name, text, before in (
        ("real.csv", written((raw / 4096).tolist()), ""),
        ("raw.csv", written(raw.tolist()), integers),
    ):
        browser.run(f"{before} return 1")
        found = dropped(browser, name, text)
        np.testing.assert_array_equal(found["results"], outputs)
        np.testing.assert_array_equal(found["decided"], decided)


def test_a_dropped_sound_gives_what_predict_gives(browser, pages):
    sound = sounds(1, 4)[0]
    content = base64.b64decode(wav(np.rint(sound * 2**15).astype("<i2")))
    browser.open(pages["listener"])
    found = dropped(browser, "tone.wav", content)
    converted = listener()
    results = np.array(found["results"], converted.program.outputs[0].type)
    np.testing.assert_array_equal(converted.outputs_of_keras(results[None]), converted.predict(sound[None]))
    assert found["decided"] == []


def test_another_rate_is_refused_until_it_may_be_changed(browser, pages):
    browser.open(pages["wearable"])
    samples = movements(1, 10, 200)[0]
    refused = dropped(browser, "fast.csv", table(samples, rate=100.0), "return message.textContent;")
    assert refused == "fast.csv has 100 samples a second, the model takes 50."
    again = """
        document.getElementById("resample").click();
        while (page.name !== "fast.csv") await new Promise((resolve) => setTimeout(resolve, 10));
    """
    found = browser.run(f"const {{ page }} = await window.device.started; {again} {RESULTS}")
    assert found["at"] == list(range(10, 101, 10))
    assert "resampled from 100 to 50 a second" in found["playing"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.pdf", b"%PDF", "neither CSV nor WAV"),
        (
            "nan.wav",
            base64.b64decode(wav(np.full((8, 3), np.nan), kind=3, bits=64)),
            "Sample 1 of acceleration x is no",
        ),
        ("two.csv", b"1,2\n3,4\n", "The file has 2 columns of numbers"),
        ("stereo.wav", base64.b64decode(wav(np.zeros((8, 2), "<i2"))), "The file has 2 channels; the model takes 3"),
    ],
)
def test_files_of_something_else_are_refused(browser, pages, name, content, message):
    browser.open(pages["wearable"])
    assert message in dropped(browser, name, content, "return message.textContent;")


@pytest.mark.parametrize(("text", "message"), [("1\n6\n", "Sample 2 of words is 6"), ("1\n2.5\n", "is 2.5; expected")])
def test_tokens_outside_of_the_table_are_refused(browser, pages, text, message):
    browser.open(pages["words"])
    assert message in dropped(browser, "words.csv", text, "return message.textContent;")


def test_dropped_tokens_give_the_integers_of_the_emulator(browser, pages):
    words = np.random.default_rng(5).integers(0, 6, 40)
    browser.open(pages["words"])
    found = dropped(browser, "words.csv", "\n".join(map(str, words)))
    expected = Emulator(tokens()).run(words.astype(np.int32)[None, :, None])[0]
    np.testing.assert_array_equal(found["results"], expected.reshape(len(words), -1))


def test_a_page_that_was_not_told_the_rate_asks_for_it(browser, pages):
    browser.open(pages["nameless"])
    before, after, time = browser.run(
        """
        const { page } = await window.device.started;
        const state = () => ["motion", "microphone"].map((id) => document.getElementById(id).disabled);
        const before = state();
        const rate = document.getElementById("rate");
        rate.value = "100";
        rate.dispatchEvent(new Event("change"));
        page.player.pause();
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        return [before, state(), document.getElementById("time").textContent];
        """
    )
    assert before == [True, True]
    assert after == [False, False]
    assert time.endswith("of 0.64 s")


def test_recordings_are_replayed_with_their_labels(browser, pages):
    browser.open(pages["wearable"])
    found = browser.run(
        """
        const { page } = await window.device.started;
        await page.player.done;
        const { truth, said } = page.session;
        const list = document.getElementById("recording");
        list.value = "1";
        list.dispatchEvent(new Event("change"));
        page.player.pause();
        page.seek(100);
        await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        return { names: [...list.options].map((option) => option.text), spans: truth.spans, classes: page.model.classes,
                 now: page.session.truth.spans, said: document.getElementById("said").textContent };
        """
    )
    assert found["names"] == ["changing", "still"]
    assert found["spans"] == [[0, 30, 0], [30, 60, 1], [60, 90, 2]]
    assert found["now"] == [[0, 120, 1]]
    assert found["said"] in found["classes"] == list(CLASSES)


def test_play_pause_speed_and_seek(browser, pages):
    browser.open(pages["wearable"])
    found = browser.run(
        """
        const { page } = await window.device.started;
        const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
        await page.player.done;
        document.getElementById("speed").value = "5";
        document.getElementById("speed").dispatchEvent(new Event("change"));
        page.seek(0);
        await wait(200);
        const later = page.player.cursor;
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: " ", bubbles: true }));
        await wait(50);
        const paused = page.player.cursor;
        await wait(50);
        const seek = document.getElementById("seek");
        seek.value = "60";
        seek.dispatchEvent(new Event("input"));
        await wait(50);
        return [later > 0, paused === page.player.cursor || page.player.cursor, page.player.playing,
                document.getElementById("play").textContent, document.getElementById("time").textContent];
        """
    )
    assert found == [True, 60, False, "Play", "1.2 s of 2.4 s"]


def test_motion_of_a_phone_is_taken_in_the_features_units(browser, pages):
    """Events at 60 a second become samples of g at 50."""
    browser.open(pages["sensors"])
    count, first = browser.run(
        """
        const { page } = await window.device.started;
        document.getElementById("motion").click();
        while (!page.stopLive) await new Promise((resolve) => setTimeout(resolve, 10));
        const start = performance.now();
        for (let i = 0; i < 61; ++i) {
          const event = new DeviceMotionEvent("devicemotion", {
            accelerationIncludingGravity: { x: 0, y: -9.80665, z: 19.6133 }, interval: 16 });
          Object.defineProperty(event, "timeStamp", { value: start + (i * 1000) / 60 });
          window.dispatchEvent(event);
        }
        document.getElementById("stop").click();
        return [page.session.count, [...page.session.inputs.row(20)]];
        """
    )
    assert count == 51
    np.testing.assert_allclose(first, [0.0, -1.0, 2.0], atol=1e-6)


@pytest.mark.parametrize(("answer", "message"), [("denied", "were not allowed"), ("granted", "")])
def test_an_iphone_is_asked_for_its_sensors_by_a_click(browser, pages, answer, message):
    browser.open(pages["sensors"])
    found = browser.run(
        """
        const { page } = await window.device.started;
        let asked = 0;
        DeviceMotionEvent.requestPermission = async () => (++asked, given[0]);
        document.getElementById("motion").click();
        const inTheClick = asked;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return [inTheClick, document.getElementById("message").textContent, Boolean(page.stopLive)];
        """,
        answer,
    )
    assert found[0] == 1 and message in found[1] and found[2] == (answer == "granted")


def test_a_microphone_is_taken_at_the_models_rate(browser, pages):
    browser.open(pages["listener"])
    seconds, samples, results = browser.run(
        """
        const { page } = await window.device.started;
        const message = document.getElementById("message");
        document.getElementById("microphone").click();
        while (!page.stopLive) {
          if (!message.hidden) throw new Error(message.textContent);
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        while (!page.session.count) await new Promise((resolve) => setTimeout(resolve, 5));
        const [start, before] = [performance.now(), page.session.count];
        await new Promise((resolve) => setTimeout(resolve, 1000));
        const found = [(performance.now() - start) / 1000, page.session.count - before, page.session.results.length];
        document.getElementById("stop").click();
        return found;
        """
    )
    assert results > 0
    assert 0.7 < samples / (8000 * seconds) < 1.3


def test_results_are_saved_as_they_came(browser, pages):
    browser.open(pages["sensors"])
    text = browser.run(
        "const { page } = await window.device.started; await page.player.done; return page.session.toCsv()"
    )
    head, *lines = text.splitlines()
    assert head.split(",")[0] == "samples" and head.split(",")[-2:] == ['"decision[0]"', '"decision[1]"']
    converted = wearable()
    rows = np.array([line.split(",") for line in lines], int)
    assert rows[:, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert rows.shape[1] == 1 + converted.program.outputs[0].shape[-1] + 2


@pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
def test_nothing_is_wider_than_the_screen(browser, pages, width, phone):
    browser.resize(width, 844, dark=phone, phone=phone)
    for page in pages.values():
        browser.open(page)
        assert browser.run("return document.documentElement.scrollWidth") == width
