import json

import pytest


def test_table_json_and_figure(call, model_file, data_file, tmp_path):
    result = call("spectrum", model_file, "--json", tmp_path / "s.json", "--figure", tmp_path / "s.svg")
    assert result.exit_code == 0, result.output
    assert "block_1/dss" in result.output
    found = json.loads((tmp_path / "s.json").read_text())
    assert list(found) == ["block_1/dss", "kept as they are"]
    assert "block_1/value/kernel" in [item["name"] for item in found["kept as they are"]]
    assert "Kept as they are" in result.output
    assert found["block_1/dss"]["max_rank"] == 4
    assert b"</svg>" in (tmp_path / "s.svg").read_bytes()


def test_both_kinds_on_data(call, model_file, data_file, tmp_path):
    options = ("--kind", "states", "--kind", "matrix", "--data", data_file, "--json", tmp_path / "s.json")
    result = call("spectrum", model_file, *options, "--figure", tmp_path / "s.png")
    assert result.exit_code == 0, result.output
    plain = call("spectrum", model_file, "--kind", "states", "--json", tmp_path / "plain.json")
    assert plain.exit_code == 0
    weighted, plain = (json.loads((tmp_path / name).read_text()) for name in ("s.json", "plain.json"))
    assert {"block_1/dss", "block_1/value/kernel"} <= set(weighted)
    assert weighted["block_1/dss"]["spectrum"] != plain["block_1/dss"]["spectrum"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("none.keras", None, "There is no model"), ("text.keras", b"hello", "Keras cannot read")],
)
def test_what_is_no_model_is_one_message(call, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = call("spectrum", tmp_path / name)
    assert result.exit_code == 1
    assert message in result.output.replace("\n", " ")


def test_data_without_inputs_is_named(call, model_file, tmp_path):
    import numpy as np

    np.savez(tmp_path / "data.npz", samples=np.zeros(3))
    result = call("spectrum", model_file, "--data", tmp_path / "data.npz")
    assert result.exit_code == 1
    assert "has no array x; it has samples" in result.output
    (tmp_path / "data.npz").write_bytes(b"PK nonsense")
    assert "damaged" in call("spectrum", model_file, "--data", tmp_path / "data.npz").output
