import json
import re

import keras_s4
from keras_s4.compression.spectrum import ENERGIES, Spectrum
from keras_s4.tables import WIDTH


def test_table_names_every_part_with_its_ranks(trained_classifier):
    spectrum = keras_s4.spectrum(trained_classifier)
    text = str(spectrum)
    assert re.search(r"┃ 90%\s+┃ 99%\s+┃ 99.9%\s+┃ 99.99%\s+┃", text)
    for name, part in spectrum.parts.items():
        assert name in text
        for keep, rank in zip(ENERGIES, spectrum.ranks_by_energy(name), strict=True):
            assert part.energy(rank) >= keep


def test_table_shows_both_kinds(trained_classifier):
    spectrum = keras_s4.spectrum(trained_classifier, ["states", "matrix"])
    assert max(map(len, str(spectrum).splitlines())) <= WIDTH
    lines = {line.split()[1]: line.split() for line in str(spectrum).splitlines() if "│" in line}
    assert lines["block_1/dss"][3:6] == ["8", "x", "6"]
    assert lines["block_1/value/kernel"][3:6] == ["8", "x", "8"]
    assert lines["block_1/value/kernel"][9] == "64"
    for name, part in spectrum.parts.items():
        assert set(spectrum.ranks_by_energy(name)) <= set(part.choices)


def test_what_is_kept_is_told_below_a_small_table_and_not_squeezed_into_its_width(trained_classifier):
    spectrum = keras_s4.spectrum(trained_classifier)
    lines = str(Spectrum(dict(list(spectrum.parts.items())[:1]), spectrum.kept)).splitlines()
    end = next(index for index, line in enumerate(lines) if line.startswith("└"))
    assert len(lines[end]) < max(map(len, lines[end + 1 :])) <= WIDTH
    assert " ".join(lines[end + 1 :]) == " ".join(spectrum.kept_text().split())


def test_figures_are_json(trained_classifier):
    figures = json.loads(json.dumps(keras_s4.spectrum(trained_classifier).figures()))
    assert len(figures["block_1/dss"]["spectrum"]) == figures["block_1/dss"]["max_rank"] == 6
    assert figures["block_1/dss"]["error_bounds"][-1] == 0.0
