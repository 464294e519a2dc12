"""Labelled recordings of sensors: how they are read, put in order, split into groups, and cut into windows."""

from keras_s4.recordings.recordings import UNLABELLED, Labelled, Recordings

__all__ = ["UNLABELLED", "Labelled", "Recordings"]
