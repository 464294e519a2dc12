"""What is trained on: windows in a new order each epoch, and random variations of recordings of any sensor."""

from keras_s4.augmentation.augmented_windows import AugmentedWindows
from keras_s4.augmentation.random_windows import MIRROR, RandomWindows
from keras_s4.augmentation.settings import as_dict, from_dict
from keras_s4.augmentation.shuffled_windows import ShuffledWindows
from keras_s4.augmentation.stream_windows import StreamWindows
from keras_s4.augmentation.transforms import (
    ChannelDropout,
    Gain,
    Jitter,
    Mirror,
    Mix,
    Offset,
    Rotation,
    Shift,
    Transform,
    Warp,
    random_rotations,
)
from keras_s4.augmentation.vectors import Vector
from keras_s4.augmentation.whole_batches import WholeBatches

__all__ = [
    "MIRROR",
    "AugmentedWindows",
    "ChannelDropout",
    "Gain",
    "Jitter",
    "Mirror",
    "Mix",
    "Offset",
    "RandomWindows",
    "Rotation",
    "Shift",
    "ShuffledWindows",
    "StreamWindows",
    "Transform",
    "Vector",
    "Warp",
    "WholeBatches",
    "as_dict",
    "from_dict",
    "random_rotations",
]
