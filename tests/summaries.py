"""A made-up summary of the demo: what the report and the command show."""

from tasks import sines

from keras_s4.job.settings import Settings

ROW = {
    "accuracy": 0.5,
    "agreement": 1.0,
    "parameters": 1234,
    "states": 8,
    "tflite_bytes": 12345,
    "arena_bytes": 6789,
    "operators": 42,
    "multiply_accumulates": 1000,
}
POINT = {"accuracy": 0.5, "tflite_bytes": 12345}
SUMMARY = {
    "settings": Settings().figures(),
    "task": sines(classes=("A", "B"), meanings={"A": "a <wave>"}).figures(),
    "metric": {"score": "accuracy", "likeness": "agreement"},
    "groups": {"train": [1], "validation": [2], "test": [3, 4]},
    "test_windows": 2,
    "ranks": {"block_1/dss": {"full": 4, "kept": 1}},
    "table": [{"row": "Keras trained", **ROW}, {"row": "TFLM", **ROW, "parameters": None}],
    "comparison": {
        "bit_exact": True,
        "first_difference": "",
        "steps": 1000,
        "agreement": {"tensorflow": 1.0},
        "tensorflow_sequences": 2,
        "tensorflow_difference": 1,
    },
    "details": {"confusion": [[1, 0], [1, 0]], "classes": []},
    "training": {"score": "accuracy", "train": {"accuracy": 0.9}, "validation": {"accuracy": 0.6}},
    "aware": {"trained": True, "why_not": None},
    "tradeoff": {
        "windows": 9,
        "score": "accuracy",
        "truncated": [{"rank": 1, **POINT}],
        **dict.fromkeys(("trained", "retrained", "aware"), POINT),
    },
    "costs": {"multiply_accumulates_a_step": 1000, "missing": "no compiler"},
    "decision": None,
    "streams": None,
    "advice": ["Record more."],
    "versions": {"python": "3.11", "keras": "<3.15>"},
    "seconds": {"train": 1.5},
}
