"""Files of recordings, a module a format. Each gives the columns of a file as they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keras_s4.recordings.frame import Frame
from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers.csv_files import read_csv, read_texts
from keras_s4.recordings.readers.npz_files import frames_of_arrays, read_npz
from keras_s4.recordings.readers.parquet_files import read_parquet
from keras_s4.recordings.readers.wav_files import read_wav

__all__ = ["FORMATS", "SUFFIXES", "format_of", "frames_of_arrays", "read_file", "read_texts"]

FORMATS: dict[str, Callable[[Path, str, Source], list[Frame]]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "wav": read_wav,
    "npz": read_npz,
}
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".wav": "wav",
    ".wave": "wav",
    ".npz": "npz",
}
ADVICE = {
    ".xlsx": "Save its sheet as CSV",
    ".xls": "Save its sheet as CSV",
    ".mp3": "Convert it to WAV",
    ".flac": "Convert it to WAV",
    ".ogg": "Convert it to WAV",
    ".aiff": "Convert it to WAV",
    ".mat": "Save its arrays as .npz, with scipy.io.loadmat and numpy.savez",
    ".h5": "Save its arrays as .npz",
    ".npy": "Save x and y together as .npz, with numpy.savez",
    ".json": "Export it as CSV",
    ".cbor": "Export it as CSV",
    ".pkl": "Save its arrays as .npz; a pickle is not read, since reading one may run any program",
}


def format_of(path: Path, source: Source) -> str:
    """The format of a file.

    Raises:
        ValueError: its name tells none that is read.
    """
    suffix = path.suffix.casefold()
    if source.format or suffix in SUFFIXES:
        return source.format or SUFFIXES[suffix]
    raise ValueError(
        f"{path.name} is of no format that is read ({', '.join(SUFFIXES)}). "
        f"{ADVICE.get(suffix, 'Leave it out by [recordings] path, or say its [recordings] format')}."
    )


def read_file(path: Path, name: str, source: Source) -> list[Frame]:
    """What a file holds: one frame, or of an .npz file one a recording.

    Args:
        path: of the file.
        name: of it, for messages.
        source: how it is read.

    Raises:
        ValueError, OSError: it cannot be read; the message names it.
        ModuleNotFoundError: a package is missing; says which.
    """
    try:
        return FORMATS[format_of(path, source)](path, name, source)
    except ValueError as error:
        text = str(error).removeprefix(path.name).lstrip()
        raise ValueError(f"{name} {text}" if str(error).startswith(path.name) else f"{name}: {error}") from error
