"""What a task asks of its models: how they are built, what is exported, and how good it is."""

from keras_s4.datasets import Task
from keras_s4.job.aims.aim import Aim
from keras_s4.job.aims.anomalies import Anomalies
from keras_s4.job.aims.labels import Labels, StepLabels
from keras_s4.job.aims.quantities import Forecasts, Quantities

__all__ = ["Aim", "Anomalies", "Forecasts", "Labels", "Quantities", "StepLabels", "aim_of"]


def aim_of(task: Task) -> Aim:
    """What a task asks for."""
    if task.anomaly:
        return Anomalies(task)
    if task.horizon:
        return Forecasts(task)
    if task.classes:
        return StepLabels(task) if task.every_step else Labels(task)
    return Quantities(task)
