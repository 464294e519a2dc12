"""Averages of a stream that never ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from keras_s4.tflite.c99.expressions import Expression, add, add_multiples, index_of, multiply
from keras_s4.tflite.c99.names import short_name
from keras_s4.tflite.c99.registry import translates
from keras_s4.tflite.c99.translation import Translation
from keras_s4.tflite.program.operations import RecentMean, SlidingSum


@translates(RecentMean, does="recent average, which each value moves by a part of its distance")
def translate_recent_mean(operation: RecentMean, source: Translation) -> None:
    output, start, channels = source.pointer(operation.output), operation.start, operation.output.shape[0]
    before, after = source.pointer(operation.state), source.pointer(operation.next_state)
    part = _part_of_distance(operation, source)
    if start:
        with source.scope(f"if ({before}[{channels}] < {start})"):
            if before != after:
                source.copy(after, before, operation.state, channels)
            with source.loop("i", channels) as i:
                source.line(f"{output}[{i}] = 0;")
            source.line(f"{after}[{channels}] = {before}[{channels}] + 1;")
    with source.scope("else") if start else contextlib.nullcontext():
        with source.loop("i", channels) as i:
            rounded = Expression(_rounded(f"{before}[{i}]"))
            distance = add_multiples(source.element(operation.input, i), operation.finer, rounded, -1)
            source.line(f"const int32_t accumulator = {distance};")
            source.line(f"{after}[{i}] = s4_add({before}[{i}], s4_multiply(accumulator, {part(i)}));")
            source.line(f"{output}[{i}] = {_rounded(f'{after}[{i}]')};")
        source.line(f"{after}[{channels}] = {start + 1};")


@translates(SlidingSum, does="sum of the last hops, renewed when a hop is full")
def translate_sliding_sum(operation: SlidingSum, source: Translation) -> None:
    hop, hops, start, channels = operation.hop, operation.hops, operation.start, operation.output.shape[0]
    state, partial, total, count = source.pointer(operation.next_state), *(channels * (hops + i) for i in range(3))
    before = source.pointer(operation.state)
    if before != state:
        source.copy(state, before, operation.state)
    source.line(f"++{state}[{count}];")

    def add_value():
        with source.loop("i", channels) as i:
            place = f"{state}[{index_of((i, 1), first=partial)}]"
            source.line(f"{place} = {add(Expression(place), source.element(operation.input, i))};")

    if start:
        with source.scope(f"if ({state}[{count}] > {start})"):
            add_value()
    else:
        add_value()
    with source.scope(f"if ({state}[{count}] == {start + hop})"), source.loop("i", channels) as i:
        value = f"{state}[{index_of((i, 1), first=partial)}]"
        source.line(
            f"{state}[{index_of((i, 1), first=total)}] = {multiply(Expression(value), Expression(constant=hops))};"
        )
        with source.loop("i1", hops) as i1:
            source.line(f"{state}[{index_of((i1, channels), (i, 1))}] = {value};")
        source.line(f"{value} = 0;")
    with source.scope(f"if ({state}[{count}] == {start + 2 * hop})"):
        with source.loop("i", channels) as i:
            place = f"{state}[{index_of((i, 1), first=total)}]"
            gained = f"s4_subtract({state}[{index_of((i, 1), first=partial)}], {state}[{i}])"
            source.line(f"{place} = s4_add({place}, {gained});")
        # The partial sum is the next in the row.
        with source.loop("i", partial) as i:
            source.line(f"{state}[{i}] = {state}[{index_of((i, 1), first=channels)}];")
        with source.loop("i", channels) as i:
            source.line(f"{state}[{index_of((i, 1), first=partial)}] = 0;")
        source.line(f"{state}[{count}] = {start + hop};")
    source.copy(source.pointer(operation.output), f"&{state}[{total}]", operation.output)


def _rounded(mean: str) -> str:
    return f"s4_to_int16(s4_halve({mean}, 15U))"


def _part_of_distance(operation: RecentMean, source: Translation) -> Callable[[str], str]:
    """By which a value moves the mean of channel i: all the way if it is the first."""
    channels, rates = operation.output.shape[0], np.unique(operation.rate.data)
    name = short_name(operation.output.name)
    first = f"{source.pointer(operation.state)}[{channels}] == {operation.start}"
    if rates.size == 1:
        part = source.constants.identifier(f"{name} part")
        source.line(f"const int32_t {part} = {first} ? {2**15} : {rates[0]};")
        return lambda i: part
    begins = source.constants.identifier(f"{name} begins")
    source.line(f"const uint8_t {begins} = {first} ? 1U : 0U;")
    return lambda i: f"{begins} != 0U ? {2**15} : {source.element(operation.rate, i)}"
