"""Networks of several kinds for one task, described alike: DSS beside what it has to beat."""

from keras_s4.architectures.architecture import KINDS, Architecture
from keras_s4.architectures.building import build
from keras_s4.architectures.spaces import architecture_of, idle_fields, spaces

__all__ = ["KINDS", "Architecture", "architecture_of", "build", "idle_fields", "spaces"]
