"""Hits on drums: classes by the names of instruments, and kits laid out as Hydrogen's."""

import importlib.util

import numpy as np
import pytest

from keras_s4.datasets import DRUMS, drum_recordings, drums_task
from keras_s4.datasets.drums import ADVICE, FOLDER_VARIABLE, INSTALLED, SAMPLES, drum_of
from keras_s4.datasets.places import find_folder
from keras_s4.datasets.sound import frames_of

with_sound = pytest.mark.skipif(
    importlib.util.find_spec("soundfile") is None, reason="soundfile is not installed: pip install 'keras-s4[sound]'"
)
NAMESPACE = 'xmlns="http://www.hydrogen-music.org/drumkit"'
INSTRUMENTS = {"Kick 1": 0, "Snare Rock": 1, "Tom Low": 2, "Closed HH": 3, "Open HH": 4, "Ride": 5, "Crash": 6}


def tone(frequency, rate, before=0.1):
    times = np.arange(round(0.3 * rate)) / rate
    return np.concatenate([np.zeros(round(before * rate)), 0.2 * np.sin(2 * np.pi * frequency * times)])


def write_kit(folder, index, namespace=""):
    import soundfile

    folder.mkdir()
    entries = ""
    for number, name in enumerate([*INSTRUMENTS, "Cowbell"]):
        file = f"{number}.{('wav', 'flac', 'aiff')[index % 3]}"
        wave = tone(300.0 * (number + 1) + 20 * index, (44_100, 16_000)[index % 2])
        soundfile.write(folder / file, np.stack([wave, wave], axis=1), (44_100, 16_000)[index % 2])
        entries += f"<instrument><name>{name}</name><layer><filename>{file}</filename></layer></instrument>"
    content = f"<name>x</name><instrumentList>{entries}</instrumentList>"
    (folder / "drumkit.xml").write_text(f"<drumkit_info {namespace}>{content}</drumkit_info>")


@pytest.fixture
def kits(tmp_path):
    for index in range(6):
        write_kit(tmp_path / f"kit {index}", index, NAMESPACE * (index % 2))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("c3 - bass drum 1", "kick"),
        ("BassDrum", "kick"),
        ("Pearl Snare Rimshot", "snare"),
        ("Pearl Side Stick", None),
        ("Rim Click (Pearl Free Floating Maple 14x3.5)", None),
        ("tomhi2", "tom"),
        ("b3 - low tom", "tom"),
        ('Ride (Custom, Zagrebin 22")', "ride"),
        ("Pedal HH", "closed hat"),
        ("VariBreaks Hat 2 Cl", "closed hat"),
        ("Sabian Hat Semi-Open", "open hat"),
        ("Hat Ring 1", None),
        ("ride-crash20inch", None),
        ("crash20inch--2", "crash"),
        ("Hand Clap", None),
        ("17", None),
        ("", None),
    ],
)
def test_classes_by_name(name, label):
    assert drum_of(name) == label


@with_sound
class TestKits:
    def test_hits_of_all_formats_and_rates_have_their_class_and_kit(self, kits):
        recordings = drum_recordings(frames=False, folder=kits)
        assert len(recordings) == 6 * 7 and set(recordings.subjects) == {f"kit {index}" for index in range(6)}
        for signal, label, kit in zip(recordings.signals, recordings.labels, recordings.subjects, strict=True):
            spectrum = np.abs(np.fft.rfft(signal[:4_000, 0]))
            wanted = 300.0 * (label + 1) + 20 * int(kit[-1])
            assert abs(spectrum.argmax() * 16_000 / 4_000 - wanted) <= 4
            assert signal.shape == (SAMPLES, 1) and abs(np.abs(signal).max() - 0.5) < 1e-6

    def test_a_hit_begins_at_its_beginning(self, kits):
        for signal in drum_recordings(frames=False, folder=kits).signals:
            assert np.abs(signal[:20]).max() > 0.02 and not signal[round(0.31 * 16_000) :].any()

    def test_frames_are_those_of_the_sound(self, kits):
        sound, frames = (drum_recordings(kind, kits) for kind in (False, True))
        for wave, own in zip(sound.signals, frames.signals, strict=True):
            assert own.shape == (32, 20)
            np.testing.assert_allclose(frames_of(wave[:, 0].astype(np.float64)), own, atol=2e-3)

    def test_equal_files_count_once_and_silence_not_at_all(self, kits):
        import shutil

        import soundfile

        shutil.copy(kits / "kit 0" / "0.wav", kits / "kit 0" / "copy.wav")
        soundfile.write(kits / "kit 0" / "silence.wav", np.zeros(500), 16_000)
        description = kits / "kit 0" / "drumkit.xml"
        files = "".join(f"<layer><filename>{name}.wav</filename></layer>" for name in ("copy", "silence"))
        extra = f"<instrument><name>Kick 2</name>{files}</instrument></instrumentList>"
        description.write_text(description.read_text().replace("</instrumentList>", extra))
        assert len(drum_recordings(folder=kits)) == 6 * 7

    def test_the_task_splits_by_kit(self, kits):
        for fold in range(5):
            task = drums_task(fold, folder=kits)
            found = [set(part.subjects.tolist()) for part in task.splits]
            assert sum(map(len, found)) == len(set.union(*found)) == 6
            assert all(set(part.labels) == set(range(len(DRUMS))) for part in task.splits)
        assert task.windows("test")[0].shape[1:] == task.input_shape == (32, 20)
        assert task.length / task.rate == SAMPLES / 16_000

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("drumkit.xml", b"<drumkit_info>", "kit 3/drumkit.xml is damaged"),
            ("2.wav", b"nothing", "2.wav cannot be read"),
        ],
    )
    def test_damage_is_named(self, kits, file, content, message):
        (kits / "kit 3" / file).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            drum_recordings(folder=kits)

    def test_kits_without_drums(self, tmp_path):
        write_kit(tmp_path / "kit", 0)
        path = tmp_path / "kit" / "drumkit.xml"
        path.write_text(path.read_text().replace("<name>", "<name>Cowbell and "))
        path.write_text(path.read_text().replace("Kick", "A").replace("Snare", "B").replace("Tom", "C"))
        path.write_text(path.read_text().replace("HH", "D").replace("Ride", "E").replace("Crash", "F"))
        with pytest.raises(FileNotFoundError, match="hold none of kick, snare"):
            drum_recordings(folder=tmp_path)


def test_no_kits(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"KERAS_S4_DRUMS\) does not hold .*hydrogen-drumkits"):
        drum_recordings()


REAL = find_folder(None, FOLDER_VARIABLE, INSTALLED, "*/drumkit.xml", ADVICE)


@with_sound
@pytest.mark.skipif(REAL is None, reason="no drum kits: Debian's hydrogen-drumkits, or KERAS_S4_DRUMS")
def test_the_real_kits():
    recordings = drum_recordings(folder=REAL)
    assert len(recordings) >= 410 and len(set(recordings.subjects.tolist())) >= 12
    assert all(np.isfinite(signal).all() for signal in recordings.signals)
    assert np.bincount(recordings.labels).min() >= 36
