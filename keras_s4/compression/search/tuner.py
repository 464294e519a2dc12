"""What happens in a trial (reduce, measure, train, measure again, write), and a keras-tuner tuner that does it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras

from keras_s4.compression.search.distribution import await_chief, role
from keras_s4.compression.search.engine import FailedTrialError, FatalRuntimeError, keras_tuner
from keras_s4.compression.search.hypermodel import RankHyperModel
from keras_s4.compression.search.scoring import Measures, excess, measure_checked, score
from keras_s4.compression.search.trials import Record, Trial, TrialFolder, trial_name

# So many trials in a row may fail before the search does: an unlucky choice of ranks must not end it, a mistake must.
MOST_FAILURES = 3


class SearchStoppedError(FatalRuntimeError):
    """Ends keras-tuner's loop, which swallows all other errors; its cause is what the user is to see."""


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """Runs trials and remembers them: one that is finished is never run again.

    Args:
        space: gives the reduced models.
        retrain: trains a model for a number of epochs.
        validate: the metric of a model.
        measure: a function from a model to what it takes.
        budgets: limits by measure.
        folder: where trials are written.
        epochs: epochs of training after the reduction; Hyperband has its own for each trial.
        seed: the seed of every training, the same for all, so that trials differ by their ranks alone.
        check_first: do not train a model that is over a budget already.
    """

    space: RankHyperModel
    retrain: Callable[[keras.Model, int], Any]
    validate: Callable[[keras.Model], float]
    measure: Callable[[keras.Model], Mapping[str, float]]
    budgets: Mapping[str, float]
    folder: TrialFolder
    epochs: int
    seed: int
    check_first: bool = True

    def run(self, hp: keras_tuner.HyperParameters) -> Trial:
        """The trial of some hyperparameters, from the folder if it is there.

        Raises:
            OSError: it cannot be written.
            Exception: whatever went wrong in it, after that was recorded.
        """
        ranks, method = self.space.read_ranks(hp)
        epochs, past_epochs = hp.values.get("tuner/epochs", self.epochs), hp.values.get("tuner/initial_epoch", 0)

        def record(metric: float | None, measures: Measures, seconds: float, error: str | None = None) -> Trial:
            over = excess(measures, self.budgets) if measures else 0.0
            return Trial(ranks, method, epochs, metric, measures, over, seconds, time.time(), error)

        return run_once(
            self.folder,
            trial_name(ranks, method, epochs),
            lambda: self._train_and_measure(ranks, method, epochs, past_epochs),
            record,
        )

    def _train_and_measure(
        self, ranks: dict[str, int], method: str, epochs: int, past_epochs: int
    ) -> tuple[float | None, Measures]:
        keras.utils.set_random_seed(self.seed)
        model = self._begin(ranks, method, past_epochs)
        if self.check_first and self.budgets:
            measures = measure_checked(self.measure, model)
            if excess(measures, self.budgets) > 0.0:
                return None, measures
        self.retrain(model, epochs - past_epochs)
        metric, measures = self.validate(model), measure_checked(self.measure, model)
        if not math.isfinite(metric):
            raise ArithmeticError(f"the metric is {metric} after training; lower the learning rate")
        self.folder.save_model(trial_name(ranks, method, epochs), model)
        return metric, measures

    def _begin(self, ranks: dict[str, int], method: str, past_epochs: int) -> keras.Model:
        """The reduced model, or where Hyperband goes on with a trial, what that trial ended with."""
        past = self.folder.read(trial_name(ranks, method, past_epochs)) if past_epochs else None
        if past is not None and past.metric is not None:
            return self.folder.load_model(past.name)
        return self.space.reduce_model(ranks, method)


def run_once(
    folder: TrialFolder,
    name: str,
    work: Callable[[], tuple[float | None, Measures]],
    record: Callable[..., Record],
) -> Record:
    """The trial of a name: from the folder if it is there, otherwise run and written.

    Args:
        folder: of the search.
        name: of the trial.
        work: does it, and returns its metric, None if it was not trained, and what it takes.
        record: makes its record of metric, measures, seconds and, if it failed, what went wrong.

    Raises:
        OSError: it cannot be written.
        Exception: whatever went wrong in it, after that was recorded.
    """
    finished = folder.read(name)
    if finished is not None and finished.error is None:
        return finished
    started = time.perf_counter()
    try:
        done = record(*work(), time.perf_counter() - started)
    except OSError:
        raise
    except Exception as error:
        folder.write(record(None, {}, time.perf_counter() - started, f"{type(error).__name__}: {error}"))
        raise
    folder.write(done)
    return done


class Experimenter(Protocol):
    """Runs what an oracle proposes."""

    def run(self, hp: keras_tuner.HyperParameters) -> Record:
        """The trial of some hyperparameters, from its folder if it is there."""


class TrialTuner(keras_tuner.Tuner):
    """Runs the trials that an oracle proposes, alone or as one of several workers.

    Of keras-tuner's own files nothing is ever read again. A search that was killed starts with a fresh oracle, to which
    the trials that are finished in `experiment.folder` answer at once, and so comes to where it was. (keras-tuner's own
    resumption forgets where a grid or the random numbers of Bayesian optimisation were, repeats what a chief had just
    finished, and cannot read a file that was half written.)

    Args:
        oracle: proposes trials and minimises their score.
        experiment: runs them.
        direction: "min" or "max", of the metric.
        directory: a folder for keras-tuner's own files, of this process alone; overwritten.
        on_trial: called with each trial that was run or found.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        experiment: Experimenter,
        direction: str,
        directory: str | Path,
        on_trial: Callable[[Record], Any] | None = None,
    ):
        self._experiment = experiment
        self._direction = direction
        self._on_trial = on_trial
        self._failures = 0
        self._idle = False
        super().__init__(oracle, directory=str(directory), project_name="keras-tuner", overwrite=True)

    def pre_create_trial(self) -> None:
        """Waits a little after the oracle had no trial to give: keras-tuner would ask again at once."""
        if self._idle:
            time.sleep(0.2)
        self._idle = True
        self._await_chief()

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, *args: Any, **kwargs: Any) -> float:
        """The score of a trial, to be minimised.

        Raises:
            FailedTrialError: the trial failed; the search goes on.
            SearchStoppedError: nothing can be written, or too many trials in a row failed.
        """
        self._idle = False
        try:
            done = self._experiment.run(trial.hyperparameters)
        except OSError as error:
            raise SearchStoppedError from error
        except Exception as error:
            self._failures += 1
            if self._failures >= MOST_FAILURES:
                raise SearchStoppedError from error
            raise FailedTrialError(str(error)) from error
        self._failures = 0
        if self._on_trial is not None:
            self._on_trial(done)
        self._await_chief()
        return score(done.metric, self._direction, done.excess)

    def _await_chief(self) -> None:
        # Without it keras-tuner would wait an hour for a chief that is gone.
        if role() == "worker":
            try:
                await_chief()
            except ConnectionError as error:
                raise SearchStoppedError from error
