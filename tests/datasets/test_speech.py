import shutil
import zlib

import numpy as np
import pytest

from keras_s4.datasets import sound as sound_of
from keras_s4.datasets import speech

spoken = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture
def few_speakers(monkeypatch):
    variants = speech.speaker_variants()[: speech.SPLIT]
    monkeypatch.setattr(speech, "speaker_variants", lambda: variants)


@spoken
def test_speakers_are_in_one_part_each_and_words_in_all(few_speakers):
    parts = speech.keywords(utterances=1)
    assert [x.shape for x, _ in parts] == [(60, 50, 20), (12, 50, 20), (12, 50, 20)]
    for x, y in parts:
        np.testing.assert_array_equal(np.bincount(y), len(y) // 12)
        assert x.dtype == np.float32 and np.abs(x).max() < 2.0


@pytest.fixture
def made_up_speech(monkeypatch):
    """Seven speakers, of whose words each is noise of its own."""

    def run(*arguments):
        if arguments[0] == "--voices=variant":
            return b"".join(
                b" 5  variant  --/M  name%d  !v/name%d \n" % (index, index) for index in range(speech.SPLIT)
            )
        random = np.random.default_rng(zlib.crc32(" ".join(arguments).encode()))
        return (
            bytes(24) + (22_050).to_bytes(4, "little") + bytes(16) + random.integers(-9999, 9999, 5000, "<i2").tobytes()
        )

    monkeypatch.setattr(speech, "_run", run)


@pytest.mark.parametrize("frames", [True, False])
def test_the_task_has_the_same_words_by_speaker(made_up_speech, frames):
    task = speech.keywords_task(frames, utterances=1)
    for split, (x, y) in zip(("train", "validation", "test"), speech.keywords(frames, utterances=1), strict=True):
        assert x.shape[1:] == task.input_shape
        for found, wanted in zip(task.windows(split), (x, y), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert [sorted(set(part.subjects)) for part in task.splits] == [[0, 1, 2, 3, 4], [5], [6]]
    assert task.input_shape[0] / task.rate == 1.0
    assert len(task.windows("test")[1]) == len(speech.KEYWORDS)


@spoken
def test_frames_are_those_of_the_sound_and_repeatable(few_speakers):
    (sound, y), *_ = speech.keywords(frames=False, utterances=1)
    (frames, same_y), *_ = speech.keywords(utterances=1)
    assert sound.shape == (60, 16_000, 1) and np.abs(sound).max() <= 1.0
    np.testing.assert_array_equal(y, same_y)
    np.testing.assert_allclose(sound_of.frames_of(sound[..., 0].astype(np.float64)), frames, atol=1e-5)
    assert not np.array_equal(sound, speech.keywords(frames=False, utterances=1, seed=1)[0][0])


@pytest.mark.parametrize("frequency", [400.0, 1_000.0, 3_000.0])
def test_a_tone_is_loudest_in_its_band(frequency):
    tone = np.sin(2.0 * np.pi * frequency * np.arange(16_000) / speech.KEYWORD_RATE)
    mel = np.linspace(*(2595.0 * np.log10(1.0 + np.array([100.0, 7_000.0]) / 700.0)), 22)[1:-1]
    expected = np.abs(mel - 2595.0 * np.log10(1.0 + frequency / 700.0)).argmin()
    loudest = sound_of.frames_of(tone).argmax(axis=1)
    assert np.all(np.abs(loudest - expected) <= 1)


def test_refusals(monkeypatch):
    with pytest.raises(ValueError, match="utterances=0; expected at least 1"):
        speech.keywords(utterances=0)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="apt install espeak-ng"):
        speech.keywords()
