"""Batches of one size."""

from __future__ import annotations

import keras


class WholeBatches(keras.utils.PyDataset):
    """Batches without the last one where it is smaller: a graph, and what XLA makes of it, is of one size.

    In every epoch others are left out, so that nothing is for good. XLA would need some 15 s to
    compile a training step anew.

    Args:
        batches: with an attribute `epoch` that chooses their order.
    """

    def __init__(self, batches: keras.utils.PyDataset):
        super().__init__()
        self._batches = batches
        count = len(batches)
        sizes = [len(keras.tree.flatten(batches[index])[0]) for index in sorted({0, count - 1})]
        self._count = count - 1 if sizes[-1] < sizes[0] else count

    @property
    def epoch(self) -> int:
        """Chooses the order."""
        return self._batches.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._batches.epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int):
        """Batch `index` of this epoch."""
        return self._batches[index]

    def on_epoch_end(self):
        """Makes the next epoch another one."""
        self._batches.on_epoch_end()
