"""Networks of several kinds for one task, described alike: DSS beside what it has to beat."""

from keras_s4.architectures.architecture import Architecture
from keras_s4.architectures.building import KINDS, build
from keras_s4.architectures.spaces import spaces

__all__ = ["KINDS", "Architecture", "build", "spaces"]
