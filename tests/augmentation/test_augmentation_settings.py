"""Transforms as a table of a TOML file tells them."""

import json
import tomllib

import pytest

from keras_s4.augmentation import Gain, Jitter, Mirror, Mix, Warp, as_dict, from_dict

TOML = """
[augmentation]
mix = 0.3
jitter = 0.02
gain = { factor = 1.3, each = "sensor" }
mirror = true
warp = 2
offset = false
"""


def test_a_table_names_transforms_in_the_order_in_which_they_are_done():
    expected = (Warp(2), Mirror(), Gain(1.3, each="sensor"), Jitter(0.02), Mix(0.3))
    assert from_dict(tomllib.loads(TOML)["augmentation"]) == expected
    assert from_dict({}) == ()


def test_the_table_of_transforms_makes_them_again():
    transforms = from_dict(tomllib.loads(TOML)["augmentation"])
    assert from_dict(json.loads(json.dumps(as_dict(transforms)))) == transforms


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"jiter": 0.1}, ValueError, "'jiter'; expected some of 'warp', 'shift'"),
        ({"gain": {"factr": 2}}, ValueError, "gain with 'factr'; expected some of 'factor'"),
        ({"gain": "loud"}, ValueError, "Gain got factor='loud'"),
        ({"warp": 0.5}, ValueError, "Warp got factor=0.5"),
        (["jitter"], TypeError, "expected a table"),
    ],
)
def test_refused_tables(table, error, message):
    with pytest.raises(error, match=message):
        from_dict(table)
