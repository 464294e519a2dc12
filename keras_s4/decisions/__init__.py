"""From the outputs of a model in a live stream to decisions: in integers, as the firmware makes them."""

from keras_s4.decisions.choosing import Choice, Curve, choose_threshold
from keras_s4.decisions.decider import Decider, Decisions, Event
from keras_s4.decisions.scores import Scores
from keras_s4.decisions.settings import CLASS, KINDS, LABELS, WAKE_WORD, Decision

__all__ = [
    "CLASS",
    "KINDS",
    "LABELS",
    "WAKE_WORD",
    "Choice",
    "Curve",
    "Decider",
    "Decision",
    "Decisions",
    "Event",
    "Scores",
    "choose_threshold",
]
