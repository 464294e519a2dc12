"""Labelled recordings of sensors: how they are read, put in order, split into groups, and cut into windows."""

from keras_s4.recordings.class_balance import class_weights
from keras_s4.recordings.leaks import check_classes, check_sources
from keras_s4.recordings.recordings import UNLABELLED, Labelled, Recordings
from keras_s4.recordings.splitting import Splits, hold_back, hold_out, split_by_group, split_by_source, split_in_time

__all__ = [
    "UNLABELLED",
    "Labelled",
    "Recordings",
    "Splits",
    "check_classes",
    "check_sources",
    "class_weights",
    "hold_back",
    "hold_out",
    "split_by_group",
    "split_by_source",
    "split_in_time",
]
