"""WAV files: whole numbers of 8 to 32 bits, or floating point, of any number of channels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from keras_s4.recordings.frame import Frame
from keras_s4.recordings.layout import Source

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x55: "MP3"}
# What programs write that do not know yet how much will follow.
UNKNOWN_SIZES = (0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF - 36, 0x7FFFF000 - 36, 0xFFFFFFFF - 36)


def read_wav(path: Path, name: str, source: Source) -> list[Frame]:
    """The channels of a WAV file from -1 to 1, as columns "sound" or "channel 1", "channel 2", and its rate.

    Raises:
        ValueError: it is no WAV file, cut off, empty, or compressed.
    """
    content = path.read_bytes()
    if content[:4] not in (b"RIFF", b"RF64") or content[8:12] != b"WAVE":
        raise ValueError(f"{path.name} is no WAV file: it does not begin with RIFF and WAVE. Convert it to WAV.")
    chunks = _chunks(content, path.name)
    if b"fmt " not in chunks or len(chunks[b"fmt "]) < 16 or b"data" not in chunks:
        raise ValueError(f"{path.name} is damaged: its format or its samples are missing.")
    kind, channels, rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if kind == EXTENSIBLE and len(chunks[b"fmt "]) >= 26:
        kind = struct.unpack("<H", chunks[b"fmt "][24:26])[0]
    if not channels or not rate or frame_bytes != channels * -(-bits // 8):
        raise ValueError(f"{path.name} is damaged: its header says {channels} channels, {rate} Hz, {bits} bits.")
    data = chunks[b"data"]
    samples = _samples(data[: len(data) // frame_bytes * frame_bytes], kind, bits, path.name).reshape(-1, channels)
    if not len(samples):
        raise ValueError(f"{path.name} is empty: it holds no sample.")
    if source.mono or channels == 1:
        return [Frame(name, {"sound": samples.mean(axis=1)}, float(rate))]
    return [Frame(name, {f"channel {index + 1}": samples[:, index] for index in range(channels)}, float(rate))]


def _chunks(content: bytes, name: str) -> dict[bytes, bytes]:
    """The chunks by their names, the first of each.

    Raises:
        ValueError: the samples are cut off.
    """
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content):
        key, size = struct.unpack("<4sI", content[place : place + 8])
        body = content[place + 8 : place + 8 + size]
        if key == b"data" and (size in UNKNOWN_SIZES or content[:4] == b"RF64"):
            body = content[place + 8 :]
        elif key == b"data" and len(body) < size:
            raise ValueError(
                f"{name} is cut off: {len(body):,} bytes of samples are there of {size:,}, as when a copy was "
                "interrupted. Copy it again, or leave it out."
            )
        found.setdefault(key, body)
        place += 8 + len(body) + len(body) % 2
    return found


def _samples(data: bytes, kind: int, bits: int, name: str) -> np.ndarray:
    """Samples as float64, whole numbers from -1 to 1."""
    if kind == FLOAT and bits in (32, 64):
        samples = np.frombuffer(data, f"<f{bits // 8}").astype(np.float64)
        return np.where(np.isfinite(samples), samples, np.nan)
    if kind != PCM or not 1 <= bits <= 32:
        what = OTHERS.get(kind, f"format {kind} of {bits} bits")
        raise ValueError(f"{name} holds {what}; expected uncompressed samples. Convert it to 16-bit PCM.")
    width = -(-bits // 8)
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128.0) / 128.0
    # Into the high bytes of 32 bits, whose sign is theirs.
    wide = np.zeros((len(data) // width, 4), np.uint8)
    wide[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    return wide.reshape(-1).view("<i4").astype(np.float64) / 2.0**31
