"""Training manners of S4 models: poles and time steps learn slowly and do not decay, with any Keras optimizer."""

from __future__ import annotations

import copy
import functools
import numbers
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

import keras


def slow_poles(
    optimizer: keras.optimizers.Optimizer | str, pole_rate: float = 0.1, rates: Mapping[str, float] | None = None
) -> keras.optimizers.Optimizer:
    """Lets an optimizer train poles and time steps at a smaller learning rate and without weight decay.

    A small change of a pole changes the whole impulse response, so S4 models train best with poles and time steps at a
    tenth to a quarter of the learning rate of the other weights. Zero, which weight decay pulls to, is no simpler a
    value than another for the logarithm of a decay or of a time step.

    Schedules, clipping, accumulation, averaging, loss scaling, callbacks and saving work as before. Clipping and
    averaging see all weights alike. A model without poles trains as before.

    Source: Gu et al. 2022 (S4D, arXiv 2206.11893), who train S4D models so.

    Args:
        optimizer: a Keras optimizer of any class, your own included, or the name of one. It must not be in use yet; it
            is changed in place.
        pole_rate: the learning rate of poles and time steps as a fraction, 0 to 1, of the optimizer's at each step.
            0 freezes them; 1 only frees them of weight decay.
        rates: such fractions of groups of weights, by regular expressions that are found in the weights' paths, such as
            `{"log_time_step": 0.0, "block_1/.*/residues": 0.5}`. The first that is found counts, before `pole_rate`.

    Returns:
        The optimizer, now also an instance of `SlowPoles`.

    Raises:
        ValueError: no optimizer; one that leaves the steps to others (`LossScaleOptimizer`, `MultiOptimizer`); one
            that is built, already slow, or was told what not to decay; a rate outside 0 to 1; or no regular expression.
    """
    if not _is_rate(pole_rate):
        raise ValueError(f"slow_poles got pole_rate={pole_rate!r}; expected a number from 0 to 1.")
    rates = _read_rates(rates)
    if not isinstance(optimizer, str | keras.optimizers.Optimizer):
        raise ValueError(
            f"slow_poles got {optimizer!r}; expected a Keras optimizer or the name of one, for example "
            "keras.optimizers.AdamW(1e-2)."
        )
    optimizer = keras.optimizers.get(optimizer)
    _check_fitness(optimizer)
    # In place: a copy made from the configuration would lose whatever the configuration does not tell.
    optimizer.__class__ = _slow_class(type(optimizer))
    optimizer.pole_rate = float(pole_rate)
    optimizer.rates = rates
    return optimizer


@keras.saving.register_keras_serializable(package="keras_s4")
class SlowPoles:
    """What `slow_poles` adds to the class of an optimizer.

    Poles and time steps are the variables with a true attribute `is_dynamics`. DSS layers mark theirs; a layer of your
    own marks a weight by `weight.is_dynamics = True`.

    Attributes:
        optimizer_class: the class of the optimizer without slow poles.
        pole_rate, rates: see `slow_poles`.
        undecayed_names: see `exclude_from_weight_decay`.
    """

    optimizer_class: type[keras.optimizers.Optimizer]
    pole_rate: float
    rates: Mapping[str, float] = types.MappingProxyType({})
    undecayed_names: tuple[str, ...] = ()
    # Identities, because Keras takes every variable that an attribute of an optimizer holds for one of its own.
    _undecayed: frozenset[int] = frozenset()
    _dynamics: frozenset[int] = frozenset()
    _slowed: Mapping[int, float] = types.MappingProxyType({})

    def build(self, variables):
        """Creates the optimizer's variables, and finds the poles and time steps among the model's."""
        if not self.built:
            self._dynamics = _identities(variable for variable in variables if getattr(variable, "is_dynamics", False))
            super().exclude_from_weight_decay([variable for variable in variables if self._is_undecayed(variable)])
            slowed = {each: self._rate_of(variable) for variable in variables for each in _identities([variable])}
            self._slowed = types.MappingProxyType({each: rate for each, rate in slowed.items() if rate != 1.0})
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable; poles and time steps, and what `rates` names, by a smaller learning rate."""
        rate = self._slowed.get(id(variable), 1.0)
        if rate == 0:  # some optimizers divide by the learning rate
            return
        if rate != 1.0:
            learning_rate = keras.ops.multiply(learning_rate, rate)
        super().update_step(gradient, variable, learning_rate)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """On torch, where Keras moves all variables at once and never calls `update_step`: group by group."""
        if keras.backend.backend() != "torch":
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        groups: dict[float, list] = {}
        for pair in zip(grads, trainable_variables, strict=True):
            groups.setdefault(self._slowed.get(id(pair[1]), 1.0), []).append(pair)
        for rate, group in groups.items():
            if rate != 0:
                super()._backend_update_step(*map(list, zip(*group, strict=True)), learning_rate * rate)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Frees other variables than poles and time steps of weight decay; replaces what an earlier call said.

        Args:
            var_list: variables. They are forgotten when the model is saved, as with every Keras optimizer.
            var_names: regular expressions to be found in the names of variables. They are saved.

        Raises:
            ValueError: the optimizer is built.
        """
        if self.built:
            raise ValueError(
                f"Optimizer {self.name!r} is built; say what not to decay before the model trains for the first time."
            )
        self._undecayed = _identities(var_list or ())
        self.undecayed_names = tuple(var_names or ())

    def get_config(self):
        """The optimizer without slow poles, and the arguments."""
        # On torch, Keras makes objects of classes of its own, which stand for the public ones.
        named = [kind for kind in self.optimizer_class.__mro__ if kind is getattr(keras.optimizers, kind.__name__, 0)]
        public = bool(named) and named[0].__name__ == self.optimizer_class.__name__
        plain = named[0] if public else self.optimizer_class
        return {
            "optimizer": {
                "module": "keras.optimizers" if public else plain.__module__,
                "class_name": plain.__name__,
                "config": super().get_config(),
                "registered_name": None if public else keras.saving.get_registered_name(plain),
            },
            "pole_rate": self.pole_rate,
            "rates": dict(self.rates),
            "undecayed_names": list(self.undecayed_names),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """The slow optimizer of the class that the configuration tells, whichever class this is called on."""
        # Copied, because optimizers change the configuration that they are made from.
        plain = keras.saving.deserialize_keras_object(copy.deepcopy(config["optimizer"]), custom_objects=custom_objects)
        optimizer = slow_poles(plain, config["pole_rate"], config.get("rates"))
        optimizer.exclude_from_weight_decay(var_names=config["undecayed_names"])
        return optimizer

    def _rate_of(self, variable) -> float:
        found = (rate for pattern, rate in self.rates.items() if re.search(pattern, variable.path))
        return next(found, self.pole_rate if _identities([variable]) & self._dynamics else 1.0)

    def _is_undecayed(self, variable):
        return bool(_identities([variable]) & (self._dynamics | self._undecayed)) or any(
            re.search(name, variable.name) for name in self.undecayed_names
        )


def _is_rate(value: Any) -> bool:
    return isinstance(value, numbers.Real) and 0 <= value <= 1


def _read_rates(rates: Mapping[str, float] | None) -> Mapping[str, float]:
    if rates is not None and not isinstance(rates, Mapping):
        raise ValueError(f'slow_poles got rates={rates!r}; expected a dict such as {{"log_time_step": 0.1}}.')
    for pattern, rate in (rates or {}).items():
        if not _is_rate(rate):
            raise ValueError(f"slow_poles got rates with {pattern!r}: {rate!r}; expected a number from 0 to 1.")
        try:
            re.compile(pattern)
        except (TypeError, re.error) as error:
            raise ValueError(f"slow_poles got rates with {pattern!r}, no regular expression: {error}.") from error
    return types.MappingProxyType({pattern: float(rate) for pattern, rate in (rates or {}).items()})


def _check_fitness(optimizer: keras.optimizers.Optimizer) -> None:
    kind = type(optimizer).__name__
    if isinstance(optimizer, SlowPoles):
        raise ValueError(f"slow_poles got an optimizer that already has slow poles, pole_rate={optimizer.pole_rate}.")
    if type(optimizer).update_step is keras.optimizers.Optimizer.update_step:
        raise ValueError(
            f"slow_poles got {kind}, which leaves the steps to other optimizers; use slow_poles on those, before "
            f"{kind} gets them."
        )
    if optimizer.built:
        raise ValueError(
            f"slow_poles got {kind} {optimizer.name!r}, which is in use already; make a new one, and compile the model "
            "with slow_poles(...) of it."
        )
    if vars(optimizer).keys() & _attributes_of_exclusion():
        raise ValueError(
            f"slow_poles got {kind} {optimizer.name!r} after exclude_from_weight_decay, which would be forgotten; call "
            "exclude_from_weight_decay on the optimizer that slow_poles returns."
        )


@functools.cache
def _attributes_of_exclusion() -> frozenset[str]:
    """The attributes that betray a call of `exclude_from_weight_decay`, which Keras gives no way to read back."""
    optimizer = keras.optimizers.SGD()
    before = set(vars(optimizer))
    optimizer.exclude_from_weight_decay()
    return frozenset(vars(optimizer).keys() - before)


@functools.cache
def _slow_class(plain: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    slow = type(f"SlowPoles{plain.__name__}", (SlowPoles, plain), {"optimizer_class": plain, "__doc__": plain.__doc__})
    # All under one name, which any process knows that has loaded this module; `from_config` is the same for all.
    return keras.saving.register_keras_serializable(package="keras_s4", name="SlowPoles")(slow)


def _identities(variables: Iterable) -> frozenset[int]:
    """Of variables, and of what TensorFlow gives to `update_step` in their place: their values, one a replica."""
    found = set()
    for variable in variables:
        value = getattr(variable, "value", None)
        replicas = getattr(value, "values", None)  # of tensors of torch a method
        found.update(map(id, (variable, value, *(replicas if isinstance(replicas, tuple) else ()))))
    return frozenset(found)
