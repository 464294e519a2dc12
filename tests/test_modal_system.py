"""Systems of several inputs and outputs against plain matrices, and against banks of systems of one."""

import numpy as np
import pytest

from keras_s4.modal_system import ModalSystem
from keras_s4.systems import DiagonalSystem


def random_modal_system(modes=5, inputs=3, outputs=2, seed=0, radius=(0.5, 0.99)):
    """Complex, real, and negative real poles, and one entry of padding."""
    random = np.random.default_rng(seed)
    poles = random.uniform(*radius, modes) * np.exp(1j * random.uniform(0.1, 3.0, modes))
    weights = [random.normal(size=(*shape, 2)) @ [1, 1j] for shape in ((modes, inputs), (outputs, modes))]
    poles[1], poles[2] = poles[1].real, -abs(poles[2])
    weights[0][1], weights[0][3:4] = weights[0][1].real, 0.0
    return ModalSystem(poles, *weights, random.normal(size=(outputs, inputs)))


def dense(system):
    """A, B, C of the conjugate-closed system."""
    A = np.diag(np.concatenate([system.poles, system.poles.conj()]))
    B = np.concatenate([system.inputs, system.inputs.conj()])
    return A, B, np.concatenate([system.outputs, system.outputs.conj()], axis=1)


def test_impulse_response_is_that_of_the_matrices():
    system = random_modal_system()
    A, B, C = dense(system)
    expected = np.stack([C @ np.linalg.matrix_power(A, t) @ B for t in range(40)], axis=-1).real
    expected[..., 0] += system.feedthrough
    np.testing.assert_allclose(system.impulse_response(40), expected, rtol=0, atol=1e-12)


def test_simulation_is_the_convolution_with_the_impulse_response_at_any_split():
    system = random_modal_system()
    u = np.random.default_rng(1).normal(size=(2, 30, 3))
    kernel = system.impulse_response(30)
    expected = np.stack([np.einsum("ois,bsi->bo", kernel[..., t::-1], u[:, : t + 1]) for t in range(30)], axis=1)
    first, state = system.simulate(u[:, :11])
    second, _ = system.simulate(u[:, 11:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), expected, rtol=0, atol=1e-11)


def test_frequency_response_is_the_transform_of_the_impulse_response():
    system = random_modal_system(radius=(0.3, 0.7))
    omega = np.linspace(0.0, np.pi, 7)
    expected = system.impulse_response(200) @ np.exp(-1j * np.outer(np.arange(200), omega))
    np.testing.assert_allclose(system.frequency_response(omega), expected, rtol=0, atol=1e-11)


def test_one_input_and_output_is_a_diagonal_system():
    system = random_modal_system(inputs=1, outputs=1)
    single = DiagonalSystem(system.poles[None], system.outputs * system.inputs.T, system.feedthrough[0])
    np.testing.assert_allclose(system.impulse_response(60)[0], single.impulse_response(60), rtol=0, atol=1e-12)
    np.testing.assert_allclose(system.hinf_norm(), single.hinf_norm()[0], rtol=1e-9)


def test_hinf_norm_is_the_largest_gain_of_a_dense_grid():
    for seed in range(5):
        system = random_modal_system(modes=6, seed=seed)
        responses = system.frequency_response(np.linspace(0.0, np.pi, 200_001)).transpose(2, 0, 1)
        largest = np.linalg.norm(responses, ord=2, axis=(1, 2)).max()
        assert largest * (1 - 1e-12) <= system.hinf_norm() <= largest * (1 + 1e-6)


def test_order_counts_real_states():
    """Complex entries have two, a real pole with real inputs one, with complex inputs two, padding none."""
    system = random_modal_system()
    np.testing.assert_array_equal(system.is_real, [False, True, False, False, False])
    np.testing.assert_array_equal(system.is_padding, [False, False, False, True, False])
    assert system.order == 2 + 1 + 2 + 0 + 2
    A, B, C = dense(system)
    reach = np.hstack([np.linalg.matrix_power(A, t) @ B for t in range(10)])
    see = np.vstack([C @ np.linalg.matrix_power(A, t) for t in range(10)])
    assert np.linalg.matrix_rank(see @ reach, tol=1e-9) == system.order


def test_difference_and_padding():
    one, other = random_modal_system(seed=0), random_modal_system(modes=3, seed=1).padded(4)
    expected = one.impulse_response(20) - other.impulse_response(20)
    np.testing.assert_allclose((one - other).impulse_response(20), expected, rtol=0, atol=1e-12)
    assert other.state_size == 4
    assert other.order == random_modal_system(modes=3, seed=1).order
    with pytest.raises(ValueError, match="expected at least 4"):
        other.padded(3)
    with pytest.raises(ValueError, match=r"\[O, I\] = \[2, 3\] and \[1, 3\]"):
        one - random_modal_system(outputs=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": np.ones((2, 4))}, r"inputs of shape \(2, 4\).*expected \[N\], \[N, I\], \[O, N\] and \[O, I\]"),
        ({"outputs": np.ones(2)}, "expected"),
        ({"poles": np.array([0.5, 1.0])}, "unstable pole"),
        ({"poles": np.array([0.5, np.nan])}, "finite"),
        ({"feedthrough": np.ones((3, 3)) * 1j}, "complex feedthrough"),
    ],
)
def test_refusals(changes, message):
    sound = {"poles": [0.5, 0.6], "inputs": np.ones((2, 3)), "outputs": np.ones((3, 2)), "feedthrough": np.ones((3, 3))}
    ModalSystem(**sound)
    with pytest.raises(ValueError, match=message):
        ModalSystem(**{**sound, **changes})
