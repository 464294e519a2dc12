"""Weight matrices as parts, against the truncated singular value decomposition and against brute force."""

import numpy as np
import pytest

from keras_s4.compression.matrices import MatrixPart

SHAPES = [(8, 8), (30, 16), (3, 24), (16, 5)]


def random_matrix(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.fixture(scope="module")
def inputs():
    """Rows of which few directions are strong, one is always the same, and one never occurs."""
    rows = random_matrix((200, 8), seed=1) * 3.0 ** -np.arange(8.0)
    rows[:, 6], rows[:, 7] = 2.0, 0.0
    return rows @ np.linalg.qr(random_matrix((8, 8), seed=2))[0]


@pytest.fixture(scope="module")
def weighted(inputs):
    return MatrixPart("layer/kernel", random_matrix((8, 6)), moment=inputs.T @ inputs / len(inputs))


@pytest.mark.parametrize("shape", SHAPES)
def test_ranks_worth_choosing_are_those_that_save(shape):
    part = MatrixPart("layer/kernel", random_matrix(shape))
    rows, columns = shape
    whole = part.cost(part.max_rank)
    assert whole.flash == whole.multiply_accumulates == rows * columns
    assert part.choices[-1] == part.max_rank == min(shape)
    assert set(part.choices[:-1]) == {r for r in range(1, rows * columns) if r * (rows + columns) < rows * columns}
    for rank in part.choices[:-1]:
        assert part.cost(rank).flash == part.cost(rank).multiply_accumulates == rank * (rows + columns) < whole.flash
    assert whole.ram == part.cost(1).ram == 0


def test_a_factored_matrix_can_go_down_from_its_rank():
    part = MatrixPart("layer/kernel", random_matrix((8, 3)) @ random_matrix((3, 8), seed=1), rank=3)
    assert (part.choices, part.max_rank, len(part.spectrum)) == ((1, 2, 3), 3, 3)
    assert [part.cost(rank).flash for rank in part.choices] == [16, 32, 48]
    assert part.energy(3) == pytest.approx(1.0)
    np.testing.assert_array_equal(part.truncate(3), part.matrix)


@pytest.mark.parametrize("shape", SHAPES)
def test_truncation_misses_by_the_first_value_dropped(shape):
    """Eckart and Young: no matrix of that rank comes nearer in the spectral norm."""
    part = MatrixPart("layer/kernel", random_matrix(shape))
    for rank in range(1, part.max_rank):
        truncated = part.truncate(rank)
        assert np.linalg.matrix_rank(truncated) == rank
        error = np.linalg.norm(part.matrix - truncated, 2)
        assert error == pytest.approx(part.spectrum[rank], rel=1e-9)
        assert error / np.linalg.norm(part.matrix, 2) == pytest.approx(part.error_bound(rank), rel=1e-9)
        lost = np.linalg.norm(part.matrix - truncated) ** 2 / np.linalg.norm(part.matrix) ** 2
        assert part.energy(rank) == pytest.approx(1.0 - lost, abs=1e-12)
    assert part.error_bound(part.max_rank) == 0.0


def output_error(part, inputs, other):
    return np.sqrt(np.mean(np.sum((inputs @ (part.matrix - other)) ** 2, axis=1)))


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_truncation_on_data_has_the_least_output_error(weighted, inputs, rank):
    """Less than the plain truncation and random projections, and no nearby matrix of that rank has less."""
    truncated = weighted.truncate(rank)
    assert np.linalg.matrix_rank(truncated) == rank
    least = output_error(weighted, inputs, truncated)
    assert least < 0.99 * output_error(weighted, inputs, MatrixPart("plain", weighted.matrix).truncate(rank))
    random = np.random.default_rng(3)
    left, values, right = np.linalg.svd(truncated)
    left, right = left[:, :rank] * values[:rank], right[:rank]
    for size in (1e-3, 1e-2, 1e-1, 1.0):
        for _ in range(25):
            basis = np.linalg.qr(random.normal(size=(6, rank)))[0]
            nearby = (left + size * random.normal(size=left.shape)) @ (right + size * random.normal(size=right.shape))
            for other in (weighted.matrix @ basis @ basis.T, nearby):
                assert output_error(weighted, inputs, other) >= least


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_spectrum_on_data_is_what_the_outputs_lose(weighted, inputs, rank):
    lost = np.sqrt(np.sum(weighted.spectrum[rank:] ** 2))
    assert output_error(weighted, inputs, weighted.truncate(rank)) == pytest.approx(lost, rel=1e-6, abs=1e-12)
    assert np.sum(weighted.spectrum**2) == pytest.approx(np.mean(np.sum((inputs @ weighted.matrix) ** 2, axis=1)))


def test_directions_that_never_occur_are_free():
    """Inputs in a plane: rank 2 gives the outputs exactly, though the matrix has rank 6."""
    inputs = random_matrix((50, 2)) @ random_matrix((2, 8), seed=1)
    part = MatrixPart("layer/kernel", random_matrix((8, 6), seed=2), moment=inputs.T @ inputs / 50)
    np.testing.assert_allclose(inputs @ part.truncate(2), inputs @ part.matrix, rtol=0, atol=1e-12)
    assert part.energy(2) == pytest.approx(1.0)


def test_two_products_by_the_left_factor_count_twice():
    part = MatrixPart("gru/recurrent_kernel", random_matrix((10, 30)), left_products=2)
    assert part.cost(3).flash == 3 * 40
    assert part.cost(3).multiply_accumulates == 3 * 50
    assert part.cost(10).multiply_accumulates == 300


def test_a_matrix_of_zeros_has_no_error():
    part = MatrixPart("layer/kernel", np.zeros((8, 8)))
    assert part.error_bound(1) == 0.0
    assert np.isfinite(part.energy(1))


@pytest.mark.parametrize("rank", [0, 9])
def test_rank_out_of_range_is_refused(rank):
    with pytest.raises(ValueError, match=f"'layer/kernel' got rank {rank}; expected 1 to 8"):
        MatrixPart("layer/kernel", np.eye(8)).truncate(rank)
