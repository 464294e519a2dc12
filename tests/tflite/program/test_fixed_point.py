"""The multipliers and roundings of `fixed_point`, against exact fractions and against TensorFlow Lite Micro."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_files import operator_model, run_operator

from keras_s4.testing.programs import full_range
from keras_s4.tflite.flatbuffer.writer import Quantization
from keras_s4.tflite.program import fixed_point
from keras_s4.tflite.program.fixed_point import Multiplier

MULTIPLIERS = st.floats(2.0**-30, 2.0**6)
EDGES = np.array([-(2**31), -(2**31) + 1, -(2**30), -(2**16) - 1, -3, -2, -1, 0, 1, 2, 3, 2**16 + 1, 2**30, 2**31 - 1])


def twice_rounded(q: int, multiplier: Multiplier) -> int:
    """The definition, in fractions: ties of the high product upwards, ties of the shift away from zero."""
    left, right = max(multiplier.shift, 0), max(-multiplier.shift, 0)
    high = floor(Fraction(q * 2**left * multiplier.mantissa, 2**31) + Fraction(1, 2))
    exact = Fraction(high, 2**right)
    return floor(exact + Fraction(1, 2)) if exact >= 0 else ceil(exact - Fraction(1, 2))


class TestMultiplier:
    @given(MULTIPLIERS)
    @settings(deadline=None)
    def test_is_the_nearest_with_31_bits(self, real):
        multiplier = fixed_point.quantize_multiplier(real)
        assert 2**30 <= multiplier.mantissa < 2**31
        assert abs(multiplier.real / real - 1) <= 2.0**-31

    @pytest.mark.parametrize(
        ("real", "expected"),
        [
            (0.0, (0, 0)),
            (0.5, (2**30, 0)),
            (1.0, (2**30, 1)),
            (1 - 2.0**-40, (2**30, 1)),
            (2.0**-15, (2**30, -14)),
            (2.0**-33, (0, 0)),
        ],
    )
    def test_examples(self, real, expected):
        assert fixed_point.quantize_multiplier(real) == expected

    def test_of_channels(self):
        reals = np.array([0.3, 1.7, 2.0**-15])
        multiplier = fixed_point.quantize_multiplier(reals)
        for index, real in enumerate(reals):
            one = fixed_point.quantize_multiplier(real)
            assert (multiplier.mantissa[index], multiplier.shift[index]) == one

    @pytest.mark.parametrize("real", [-0.1, np.inf, np.nan, 2.0**31])
    def test_refuses(self, real):
        with pytest.raises(ValueError, match="expected numbers in"):
            fixed_point.quantize_multiplier(real)


class TestRounding:
    @given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-30, 0.99))
    @settings(deadline=None)
    def test_matches_the_definition(self, q, real):
        multiplier = fixed_point.quantize_multiplier(real)
        computed = fixed_point.multiply_by_quantized_multiplier(np.array([q]), multiplier)
        assert computed[0] == twice_rounded(q, multiplier)

    @given(st.integers(-(2**40), 2**40), st.floats(2.0**-30, 2.0**-10))
    @settings(deadline=None)
    def test_reduced_matches_the_definition(self, q, real):
        multiplier = fixed_point.quantize_multiplier(real)
        mantissa = min(floor(Fraction(multiplier.mantissa, 2**16) + Fraction(1, 2)), 2**15 - 1)
        expected = floor(q * Fraction(mantissa) / Fraction(2) ** (15 - multiplier.shift) + Fraction(1, 2))
        assert fixed_point.multiply_by_reduced_multiplier(np.array([q]), multiplier)[0] == expected

    def test_saturates(self):
        assert fixed_point.saturate(np.array([-300, -128, 127, 128]), "int8").tolist() == [-128, -128, 127, 127]


class TestTensorFlowLiteMicro:
    """The judge: each kernel that rounds, on random and edge values."""

    @pytest.mark.parametrize("type", ["int8", "int16"])
    @pytest.mark.parametrize("seed", range(12))
    def test_quantize(self, type, seed):
        random = np.random.default_rng(seed)
        scale_in = float(2.0 ** random.uniform(-20, 2))
        scale_out = float(scale_in * 2.0 ** random.uniform(0, 20))
        zero_point = int(random.integers(-128, 128)) if type == "int8" else 0
        near = random.normal(0, scale_out / scale_in * 2.0 ** random.uniform(4, 15), 500)
        q = np.concatenate([np.clip(near, -(2**31), 2**31 - 1).astype(np.int32), EDGES[np.abs(EDGES) < 2**30]])
        q = q.astype(np.int32)[None]
        model = operator_model(
            "QUANTIZE",
            [(q.shape, "int32", Quantization((scale_in,)), None)],
            (q.shape, type, Quantization((scale_out,), zero_point)),
        )
        multiplier = fixed_point.rescale_multiplier(scale_in, scale_out)
        np.testing.assert_array_equal(run_operator(model, q), fixed_point.requantize(q, multiplier, type, zero_point))

    @pytest.mark.parametrize("exponent", [-20, -15, -1, 0, 3])
    def test_quantize_by_powers_of_two_over_the_whole_range(self, exponent):
        random = np.random.default_rng(exponent + 100)
        q = np.concatenate([full_range(random, (2000,), "int32"), np.arange(-70_000, 70_000, 7), EDGES])
        q = q.astype(np.int32)[None]
        model = operator_model(
            "QUANTIZE",
            [(q.shape, "int32", Quantization((2.0**exponent,)), None)],
            (q.shape, "int16", Quantization((1.0,))),
        )
        multiplier = fixed_point.rescale_multiplier(2.0**exponent, 1.0)
        np.testing.assert_array_equal(run_operator(model, q), fixed_point.requantize(q, multiplier, "int16"))

    def test_rounds_twice(self):
        """1.4999... rounds to 2: single rounding, which some builds have, would give 1."""
        multiplier = fixed_point.quantize_multiplier(2.0**-15)
        q = np.array([[3 * 2**14 - 1]], np.int32)
        model = operator_model(
            "QUANTIZE",
            [(q.shape, "int32", Quantization((2.0**-15,)), None)],
            (q.shape, "int16", Quantization((1.0,))),
        )
        assert run_operator(model, q)[0, 0] == fixed_point.requantize(q, multiplier, "int16")[0, 0] == 2

    @pytest.mark.parametrize("type", ["int8", "int16"])
    @pytest.mark.parametrize("seed", range(8))
    def test_fully_connected(self, type, seed):
        random = np.random.default_rng(seed)
        scale_in, scale_weights = (float(scale) for scale in 2.0 ** random.uniform(-12, 0, 2))
        scale_out = float(scale_in * scale_weights * 2.0 ** random.uniform(6, 12) * (16 if type == "int16" else 1))
        zero_in, zero_out = (int(z) for z in random.integers(-128, 128, 2)) if type == "int8" else (0, 0)
        weights, x = full_range(random, (40, 24), "int8"), full_range(random, (1, 24), type)
        bias = random.integers(-(2**14), 2**14, 40)
        model = operator_model(
            "FULLY_CONNECTED",
            [
                (x.shape, type, Quantization((scale_in,), zero_in), None),
                (weights.shape, "int8", Quantization((scale_weights,)), weights),
                (
                    bias.shape,
                    "int32" if type == "int8" else "int64",
                    Quantization((float(np.float32(scale_in) * np.float32(scale_weights)),)),
                    bias,
                ),
            ],
            ((1, 40), type, Quantization((scale_out,), zero_out)),
        )
        accumulator = (x.astype(np.int64) - zero_in) @ weights.T.astype(np.int64) + bias
        multiplier = fixed_point.product_multiplier(scale_in, scale_weights, scale_out)
        if type == "int8":
            expected = fixed_point.requantize(accumulator, multiplier, type, zero_out)
        else:
            expected = fixed_point.requantize_reduced(accumulator, multiplier, type)
        np.testing.assert_array_equal(run_operator(model, x), expected)

    @pytest.mark.parametrize("type", ["int8", "int16"])
    def test_fully_connected_multiplies_its_scales_in_double_precision(self, type):
        """Swept through scales whose product in single precision would give other results; random scales rarely do."""
        random, told_apart = np.random.default_rng(0), 0
        while told_apart < 4:
            scale_in, scale_weights = np.float32(random.uniform(0.01, 0.1)), np.float32(random.uniform(0.003, 0.02))
            scale_out = float(2.0 ** -random.integers(2, 4)) * (1.0 if type == "int8" else 2.0**-7)
            multiplier = fixed_point.product_multiplier(scale_in, scale_weights, scale_out)
            single = fixed_point.quantize_multiplier(float(scale_in * scale_weights) / scale_out)
            largest = int(np.iinfo(type).max / multiplier.real)
            bias = np.linspace(-largest, largest, 20_000).astype(np.int64)
            requantize = fixed_point.requantize if type == "int8" else fixed_point.requantize_reduced
            expected = requantize(bias, multiplier, type)
            if np.array_equal(expected, requantize(bias, single, type)):
                continue
            told_apart += 1
            weights, x = np.zeros((len(bias), 1), np.int8), np.zeros((1, 1), type)
            weights[0, 0] = 1
            stored = Quantization((float(scale_in) * float(scale_weights),))
            model = operator_model(
                "FULLY_CONNECTED",
                [
                    (x.shape, type, Quantization((float(scale_in),), 0), None),
                    (weights.shape, "int8", Quantization((float(scale_weights),)), weights),
                    (bias.shape, "int32" if type == "int8" else "int64", stored, bias),
                ],
                ((1, len(bias)), type, Quantization((scale_out,), 0)),
            )
            np.testing.assert_array_equal(run_operator(model, x)[0], expected)

    @pytest.mark.parametrize("seed", range(8))
    def test_depthwise(self, seed):
        random = np.random.default_rng(seed)
        shape, channels = (1, 2, 5, 24), 24
        scale_in, scale_weights = float(2.0 ** random.uniform(-12, 0)), 2.0 ** random.uniform(-10, 0, channels)
        scale_out = float(scale_in * np.median(scale_weights) * 2.0 ** random.uniform(5, 12))
        weights, x = full_range(random, shape, "int8"), full_range(random, shape, "int16")
        model = operator_model(
            "DEPTHWISE_CONV_2D",
            [
                (shape, "int16", Quantization((scale_in,)), None),
                (shape, "int8", Quantization(tuple(scale_weights), 0, 3), weights),
                ((channels,), "int64", None, np.zeros(channels)),
            ],
            ((1, 1, 1, channels), "int16", Quantization((scale_out,))),
        )
        sums = (x.astype(np.int64) * weights).sum(axis=(1, 2))
        multiplier = fixed_point.product_multiplier(scale_in, scale_weights, scale_out)
        expected = fixed_point.requantize_reduced(sums, multiplier, "int16")
        np.testing.assert_array_equal(run_operator(model, x).reshape(1, channels), expected)


class TestAgreeingScale:
    """Where products of scales are rounded to single precision, and where not, the same integers come out."""

    @pytest.mark.parametrize("type", ["int8", "int16"])
    def test_gives_one_multiplier_in_single_and_in_double_precision(self, type):
        random = np.random.default_rng(0)
        draws = 10.0 ** random.uniform(-5, -1, (800, 3)) * [1.0, 1.0, 10.0]
        # As for slopes: multipliers near a power of two, where mantissas jump.
        draws[::4, 0] = draws[::4, 2] / draws[::4, 1] * 2.0**-5

        def apart(scale_in, weights, scale_out) -> int:
            """The distance of the two mantissas."""
            product = float(np.float32(scale_in) * np.float32(weights))
            single = fixed_point.quantize_multiplier(product / float(np.float32(scale_out)))
            double = fixed_point.product_multiplier(scale_in, weights, scale_out)
            if type == "int8":
                return abs(single.mantissa - double.mantissa)
            return abs(fixed_point.reduced_mantissa(single.mantissa) - fixed_point.reduced_mantissa(double.mantissa))

        scales = [fixed_point.agreeing_scale(wanted, *ends, type) for wanted, *ends in draws]
        growth = np.array(scales) / draws[:, 0]
        assert growth.min() >= 1.0 - 2.0**-24 and growth.max() < 1.004
        before = [apart(scale_in, wanted, scale_out) for wanted, scale_in, scale_out in draws]
        after = [apart(ends[1], scale, ends[2]) for scale, ends in zip(scales, draws, strict=True)]
        assert np.count_nonzero(before) > (400 if type == "int8" else 20)
        # A few scales have no partner; then 30 of 31 bits agree, and 15 of 15.
        assert np.count_nonzero(after) <= (1 if type == "int8" else 0)
        assert max(after) < 16

    def test_leaves_powers_of_two_alone(self):
        assert fixed_point.agreeing_scale(0.0078125, 2.0**-13, 0.3, "int8") == 0.0078125
        assert fixed_point.agreeing_scale(float(np.float32(0.0031)), 2.0**-13, 0.3, "int8") == float(np.float32(0.0031))

    def test_of_the_scale_of_a_sum_of_squares(self):
        random = np.random.default_rng(0)
        scales = 10.0 ** random.uniform(-4, -1, 1000)
        # As wanted: the square of one unit, or a power of two above it.
        wanted = scales**2
        wanted[::2] = 2.0 ** np.ceil(np.log2(wanted[::2] * 10.0 ** random.uniform(0, 4, 500)))

        def differ(energy, scale) -> bool:
            single = np.float32(scale) * np.float32(scale)
            multipliers = (
                fixed_point.quantize_multiplier(float(single) / float(np.float32(energy))),
                fixed_point.product_multiplier(scale, scale, energy),
            )
            first, second = [(fixed_point.reduced_mantissa(each.mantissa), each.shift) for each in multipliers]
            return first != second

        energies = [fixed_point.agreeing_energy_scale(*both) for both in zip(wanted, scales, strict=True)]
        growth = np.array(energies) / wanted
        assert growth.min() >= 1.0 - 2.0**-24 and growth.max() < 1.004
        assert sum(map(differ, wanted, scales)) > 50
        assert sum(map(differ, energies, scales)) == 0
        assert fixed_point.agreeing_energy_scale(2.0**-9, 2.0**-12) == 2.0**-9
