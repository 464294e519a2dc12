"""Speech Commands: small folders laid out as the published one."""

import hashlib
import wave

import numpy as np
import pytest

from keras_s4.datasets import Live, speech_commands, speech_commands_task
from keras_s4.datasets.speech_commands import FOLDER_VARIABLE, hashed_split

WORDS = ("yes", "no")
SPEAKERS = [f"{index:08x}" for index in range(10, 40)]


def write_wav(path, samples, rate=16_000):
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Every sample of an utterance says the word and the speaker; noise says the time."""
    folder = tmp_path_factory.mktemp("commands")
    for number, word in enumerate([*WORDS, "bed", "cat", "tree"]):
        for index, speaker in enumerate(SPEAKERS):
            length = 16_000 - 500 * (index % 2)
            write_wav(
                folder / word / f"{speaker}_nohash_{index % 3}.wav", np.full(length, 1_000 * (number + 1) + index)
            )
    for name in ("pink", "tap"):
        write_wav(folder / "_background_noise_" / f"{name}.wav", np.arange(20 * 16_000) // 100 + 1)
    (folder / "LICENSE").write_text("")
    return folder


@pytest.fixture
def folder(made_up, tmp_path):
    """With lists: speakers 0 to 4 validate, 5 to 11 test."""
    for entry in made_up.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    for name, speakers in (("validation_list.txt", SPEAKERS[:5]), ("testing_list.txt", SPEAKERS[5:12])):
        found = sorted(made_up.glob("[a-z]*/*.wav"))
        lines = [path.relative_to(made_up).as_posix() for path in found if path.name[:8] in speakers]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def levels(recordings):
    """What the samples of each utterance say."""
    return [round(float(signal[0, 0]) * 32_768) for signal in recordings.signals]


def test_lists_say_who_validates_and_tests(folder):
    parts = speech_commands(folder, WORDS, unknown=0, silence=0, frames=False)
    assert [len(part) for part in parts] == [2 * 18, 2 * 5, 2 * 7]
    for part, speakers in zip(parts, (SPEAKERS[12:], SPEAKERS[:5], SPEAKERS[5:12]), strict=True):
        assert set(part.subjects) == set(speakers)
        indices = [SPEAKERS.index(who) for who in part.subjects]
        assert levels(part) == [1_000 * (y + 1) + index for y, index in zip(part.labels, indices, strict=True)]
        assert {signal.shape for signal in part.signals} == {(16_000, 1)}
        # Shorter files have silence behind them.
        for signal, index in zip(part.signals, indices, strict=True):
            assert signal[15_500:].any() == (index % 2 == 0)


def test_without_lists_the_hash_of_the_speaker_decides(made_up):
    parts = speech_commands(made_up, WORDS, unknown=0, silence=0)
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        assert set(part.subjects) == {
            speaker for speaker in SPEAKERS if hashed_split(f"{speaker}_nohash_0.wav") == name
        }
    assert len(parts.train) == 2 * len({*parts.train.subjects}) and sum(map(len, parts)) == 60


def test_the_hash_is_the_published_one():
    """As its formula reads, and for all utterances of a speaker alike."""
    for speaker in SPEAKERS:
        digest = int.from_bytes(hashlib.sha1(speaker.encode()).digest(), "big") & (2**27 - 1)
        percent = 100.0 * digest / (2**27 - 1)
        wanted = "validation" if percent < 10 else "test" if percent < 20 else "train"
        assert {hashed_split(f"{speaker}_nohash_{index}.wav") for index in range(3)} == {wanted}
    shares = [hashed_split(f"{index:08x}_nohash_0.wav") for index in range(4_000)]
    assert abs(shares.count("validation") / 4_000 - 0.1) < 0.02 and abs(shares.count("test") / 4_000 - 0.1) < 0.02


def test_other_words_are_unknown_and_drawn_alike_for_a_seed(folder):
    parts, same, other = (
        speech_commands(folder, WORDS, unknown=1.5, silence=0, frames=False, seed=seed) for seed in (0, 0, 1)
    )
    for part, speakers in zip(parts, (18, 5, 7), strict=True):
        assert np.bincount(part.labels).tolist() == [speakers, speakers, round(1.5 * speakers)]
        found = [level // 1_000 for level, label in zip(levels(part), part.labels, strict=True) if label == 2]
        assert set(found) <= {3, 4, 5} and len(set(found)) > 1
    assert levels(parts.train) == levels(same.train) != levels(other.train)


def test_seconds_of_noise_are_of_other_times_in_each_split(folder):
    parts = speech_commands(folder, WORDS, unknown=0, silence=1.0, frames=False)
    edges = ((0, 16), (16, 18), (18, 20))
    for part, (start, end) in zip(parts, edges, strict=True):
        seconds = [signal[:, 0] for signal, label in zip(part.signals, part.labels, strict=True) if label == 2]
        assert len(seconds) == len(part) // 3
        for second in seconds:
            # Samples are t / 100 + 1 in steps, at a volume; ratios tell the time whatever the volume is.
            ratio = (second[-1] - second[0]) / second[0]
            first = (15_999 / ratio - 100) / 16_000
            assert start - 0.05 <= first <= end - 1 + 0.05
    assert len({*parts.train.subjects} & {*parts.test.subjects}) == 0


def test_the_task(folder):
    task = speech_commands_task(folder, WORDS, live=Live(background="silence"))
    assert task.classes == ("yes", "no", "unknown", "silence")
    x, y = task.windows("test")
    assert x.shape == (4 * 7, 50, 20) == (len(y), *task.input_shape)
    assert np.bincount(y).tolist() == [7] * 4
    assert task.length / task.rate == 1.0


def test_folder_by_variable(folder, monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert len(speech_commands(words=WORDS)) == 3
    monkeypatch.delenv(FOLDER_VARIABLE)
    with pytest.raises(FileNotFoundError, match=r"Download .*speech_commands_v0.02.tar.gz.*KERAS_S4_SPEECH_COMMANDS"):
        speech_commands(words=WORDS)


@pytest.mark.parametrize("words", ["yes", (), ("yes", "yes"), ("yes", "silence")])
def test_refused_words(words):
    with pytest.raises(ValueError, match="expected different words"):
        speech_commands_task(words=words)


def test_a_word_that_is_not_there(folder):
    with pytest.raises(FileNotFoundError, match=r"no WAV files of go; it holds bed, cat, no, tree, yes"):
        speech_commands(folder, ("yes", "go"))


def test_a_copy_that_is_not_whole(folder):
    with (folder / "testing_list.txt").open("a") as file:
        file.write("yes/gone_nohash_0.wav\n")
    with pytest.raises(ValueError, match=r"testing_list.txt names yes/gone_nohash_0.wav \(1 in all\)"):
        speech_commands(folder, WORDS)
    (folder / "testing_list.txt").unlink()
    with pytest.raises(ValueError, match=r"holds validation_list.txt and not the other"):
        speech_commands(folder, WORDS)


def test_no_noise(folder):
    (folder / "_background_noise_").unlink()
    with pytest.raises(FileNotFoundError, match=r"no folder _background_noise_ .*Say silence=0"):
        speech_commands(folder, WORDS)
    assert len(speech_commands(folder, WORDS, silence=0).test) == 3 * 7


@pytest.mark.parametrize(
    ("rate", "samples", "message"),
    [(8_000, np.ones(8_000), "at 8000 Hz; expected 16,000"), (16_000, np.zeros(0), "bad_nohash_0.wav is empty")],
)
def test_a_file_that_does_not_fit(made_up, tmp_path, rate, samples, message):
    write_wav(tmp_path / "yes" / "bad_nohash_0.wav", samples, rate)
    write_wav(tmp_path / "no" / "bad_nohash_0.wav", samples, rate)
    with pytest.raises(ValueError, match=message):
        speech_commands(tmp_path, WORDS, unknown=0, silence=0)
