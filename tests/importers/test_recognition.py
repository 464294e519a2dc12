"""Which layers are recognised, what is asked for by name, and what is refused; all of it without Keras."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_s4.dss.discretization import METHODS
from keras_s4.importers import readers
from keras_s4.importers.banks import ContinuousBank, DiscreteBank, diagonalized, within_a_turn
from keras_s4.importers.blueprint import draw
from keras_s4.importers.checkpoint import Checkpoint, CheckpointError
from keras_s4.importers.modules.layers import plain_weights
from keras_s4.layers import DiagonalSSM
from keras_s4.modal_system import ModalSystem
from keras_s4.systems import DiagonalSystem

CHECKPOINTS = Path(__file__).parent / "checkpoints"
OPTIONS = json.loads((CHECKPOINTS / "pytorch.json").read_text()) | json.loads((CHECKPOINTS / "flax.json").read_text())
FILES = [name for name in OPTIONS if (CHECKPOINTS / name).is_file()]
random = np.random.default_rng(0)


def of(arrays):
    return Checkpoint({name: np.asarray(array) for name, array in arrays.items()}, "made here")


def arrays_of(name):
    return dict(readers.read(CHECKPOINTS / name).arrays)


def bank_of(checkpoint, **options):
    nodes = draw(checkpoint, **options).network.nodes
    return next(node.values["bank"] for node in nodes if node.kind in ("bank", "shared_bank"))


def kernel_of(bank, steps):
    """The impulse responses of the rows of a bank, term by term."""
    if isinstance(bank, DiscreteBank):
        return bank.system.impulse_response(steps)
    z = bank.poles * bank.time_steps[:, None]
    p = np.exp(z) if bank.discretization == "zoh" else (1 + z / 2) / (1 - z / 2)
    terms = (bank.weights * (p - 1) / bank.poles)[..., None] * p[..., None] ** np.arange(steps)
    kernel = terms.sum(axis=1).real
    kernel[:, 0] += bank.feedthrough
    return kernel


def test_nothing_of_it_imports_keras():
    code = (
        "import sys; from keras_s4.importers.blueprint import draw\n"
        f"draw({str(CHECKPOINTS / 's4d.pt')!r})\n"
        "print({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_array_is_named(name):
    arrays = arrays_of(name)
    for left_out in arrays:
        if left_out.endswith("num_batches_tracked"):  # of no use
            continue
        if left_out.endswith("bias") and arrays[left_out].ndim == 1 and "output_linear" not in left_out:
            title = ", without bias"  # as matrices and convolutions can be, and is said
            try:
                partial = {key: array for key, array in arrays.items() if key != left_out}
                assert title in str(draw(of(partial), **OPTIONS[name]).imported), left_out
            except CheckpointError:
                pass
            continue
        partial = {key: array for key, array in arrays.items() if key != left_out}
        with pytest.raises(CheckpointError):
            draw(of(partial), **OPTIONS[name])
            raise AssertionError(left_out)


@pytest.mark.parametrize("name", FILES)
def test_an_array_of_another_shape_is_refused(name):
    arrays = arrays_of(name)
    for changed, array in arrays.items():
        if array.ndim == 0 or changed in ("decoder.weight", "fc.weight", "encoder.kernel", "encoder.encoder.kernel"):
            continue  # one class more, or one feature
        if changed.rpartition(".")[2] in ("C", "W", "P") and len(array) == 1:
            continue  # a second head is that of the other direction, a second P of rank 2
        longer = np.concatenate([array, array[:1]])
        with pytest.raises(CheckpointError):
            draw(of({**arrays, changed: longer}), **OPTIONS[name])
            raise AssertionError(changed)


@pytest.mark.parametrize("name", FILES)
def test_an_array_too_many_is_named(name):
    with pytest.raises(CheckpointError, match="attention"):
        draw(of({**arrays_of(name), "attention.in_proj": np.ones((3, 3))}), **OPTIONS[name])


def test_all_questions_come_at_once_and_by_name():
    with pytest.raises(CheckpointError, match=r"norm_order='pre' or 'post'.*pooling='mean' or 'last' or 'none'"):
        draw(CHECKPOINTS / "s4d_model_post.pt")
    with pytest.raises(CheckpointError, match=r"'version'.*training_length=a number of steps.*activation="):
        draw(CHECKPOINTS / "dss_softmax.pt")
    with pytest.raises(CheckpointError, match="layers="):
        draw(CHECKPOINTS / "convolutional.pt")
    with pytest.raises(CheckpointError, match=r"conv\(stride=1,padding=0\)"):
        draw(CHECKPOINTS / "convolutional.pt", layers="conv bn relu narrow mean fc")


def test_answers_that_nobody_asked_for_are_refused():
    with pytest.raises(CheckpointError, match="training_length"):
        draw(CHECKPOINTS / "s4d.pt", training_length=40)
    with pytest.raises(CheckpointError, match=r"settings\['dics'\]"):
        draw(CHECKPOINTS / "s4_v4.pt", activation="gelu", settings={"dics": "bilinear"})
    with pytest.raises(CheckpointError, match="norm_order is 'before'; expected 'pre' or 'post'"):
        draw(CHECKPOINTS / "s4d_model_post.pt", norm_order="before", pooling="mean")
    with pytest.raises(CheckpointError, match="training_length is 0"):
        draw(CHECKPOINTS / "dss_softmax.pt", **{**OPTIONS["dss_softmax.pt"], "training_length": 0})


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("encoder [ s4_layers.0 norms.0 s4_layers.1 norms.1 mean decoder", "does not close"),
        ("encoder ] s4_layers.0 norms.0 s4_layers.1 norms.1 mean decoder", "not open"),
        ("encoder s4_layers.0 norms.0 mean decoder", "leaves over s4_layers.1"),
        ("encoder s4_layers.7 mean decoder", "names 's4_layers.7'"),
        ("encoder s4_layers.0 norms.0 s4_layers.1 norms.1 mean last decoder", "behind another pooling"),
        ("decoder s4_layers.0 norms.0 s4_layers.1 norms.1 mean encoder", "reads 3 channels"),
        ("encoder (", "cannot be read"),
        ("", "names no module"),
    ],
)
def test_orders_that_are_none_are_refused(order, message):
    with pytest.raises(CheckpointError, match=message):
        draw(CHECKPOINTS / "s4d_model_post.pt", layers=order)


def softmax_checkpoint(poles):
    weights = random.normal(size=(1, 2, len(poles), 2))
    arrays = {"kernel.log_dt": np.full((2, 2), -2.0), "kernel.Lambda": poles, "kernel.W": weights, "D": np.ones((1, 2))}
    return of({**arrays, "output_linear.weight": np.ones((2, 2)), "output_linear.bias": np.ones(2)})


def test_softmax_poles_that_grow_are_refused_with_the_way_out():
    poles = np.array([[-0.5, 1.0], [0.2, 3.0], [0.0, 5.0]])
    options = {"activation": "gelu", "training_length": 50, "settings": {"version": "softmax"}}
    with pytest.raises(CheckpointError, match=r"2 of 3 poles.*softmax.*exp kernel.*unstable='clip'"):
        draw(softmax_checkpoint(poles), **options)
    blueprint = draw(softmax_checkpoint(poles), unstable="clip", **options)
    assert "2 poles with real parts up to 0.2 were moved" in str(blueprint.imported)
    assert bank_of(softmax_checkpoint(poles), unstable="clip", **options).poles.real.max() < 0.0


@pytest.mark.parametrize("name", ["s5_shared", "lru_shared"])
def test_layers_whose_states_are_shared_are_one_system(name):
    arrays = arrays_of(name)
    blueprint = draw(of(arrays))
    assert "3 channels that share 6 modes" in str(blueprint.imported)
    bank = bank_of(of(arrays))
    assert bank.inputs.shape == (6, 3) and bank.outputs.shape == (3, 6)
    assert (bank.poles.real < 0.0).all() and (bank.poles.imag >= 0.0).all()
    with pytest.raises(CheckpointError, match=r"'D' has the shape \[2\]; expected \[3\]"):
        draw(of({**arrays, "D": np.ones(2)}))
    wide = "C" if name.startswith("s5") else "C_re"
    with pytest.raises(CheckpointError, match=rf"'{wide}' has the shape .*; expected \[3, 6"):
        draw(of({**arrays, wide: np.concatenate([arrays[wide]] * 2)}))


@pytest.mark.parametrize("apart", [True, False], ids=["two matrices", "side by side"])
def test_a_bidirectional_s5_layer_reads_its_states_both_ways(apart):
    """Against the published equations: states of both ways side by side, the current input in both."""
    arrays = dict(arrays_of("s5_shared"))
    forwards = arrays.pop("C")
    backwards = np.random.default_rng(0).normal(size=forwards.shape)
    arrays |= {"C1": forwards, "C2": backwards} if apart else {"C": np.concatenate([forwards, backwards], axis=1)}
    assert "share 6 modes, bidirectional" in str(draw(of(arrays)).imported)
    bank = bank_of(of(arrays))
    layer = DiagonalSSM(None, 6, "diagonal", bidirectional=True, dtype="float64")
    layer.build((None, None, 3))
    gain = np.expm1(bank.poles * bank.time_steps) / bank.poles
    layer.set_system(
        ModalSystem(
            np.exp(bank.poles * bank.time_steps),
            gain[:, None] * bank.inputs,
            bank.outputs,
            np.concatenate([np.diag(bank.feedthrough), np.zeros((3, 3))]),
        )
    )
    poles = np.float64(arrays["Lambda_re"]) + 1j * arrays["Lambda_im"]
    discrete = np.exp(poles * np.exp(np.float64(arrays["log_step"][:, 0])))
    B = ((discrete - 1.0) / poles)[:, None] * (np.float64(arrays["B"]) @ [1, 1j])
    C = np.concatenate([np.float64(forwards), backwards], axis=1) @ [1, 1j]
    u = np.random.default_rng(1).normal(size=(12, 3))
    states = np.zeros((2, 12, 6), complex)
    for t in range(12):
        before = [states[0, t - 1], states[1, 12 - t]] if t else [0.0, 0.0]
        states[0, t], states[1, 11 - t] = discrete * before[0] + B @ u[t], discrete * before[1] + B @ u[11 - t]
    expected = 2.0 * (np.concatenate(states, axis=1) @ C.T).real + arrays["D"] * u
    np.testing.assert_allclose(layer(u[None])[0], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_arguments_of_s5_that_no_parameter_says():
    """Against the published equations: bilinear poles and gains, and states whose conjugates are stored too."""
    arrays = arrays_of("s5_shared")
    poles = np.float64(arrays["Lambda_re"]) + 1j * arrays["Lambda_im"]
    step = np.exp(np.float64(arrays["log_step"][:, 0]))
    gain = 1.0 / (1.0 - step / 2.0 * poles)
    discrete, B, C = gain * (1.0 + step / 2.0 * poles), *(np.float64(arrays[name]) @ [1, 1j] for name in "BC")
    powers = discrete[:, None] ** np.arange(20)
    expected = np.einsum("on,nt,ni->oit", C, powers, (gain * step)[:, None] * B).real
    expected[..., 0] += np.diag(arrays["D"])
    bank = bank_of(of(arrays), settings={"discretization": "bilinear", "conj_sym": False})
    assert bank.discretization == "bilinear"
    exponents = bank.poles * bank.time_steps
    log_poles = METHODS["bilinear"].log_poles_of(exponents)
    inputs = (np.expm1(log_poles) / bank.poles)[:, None] * bank.inputs
    system = ModalSystem(np.exp(log_poles), inputs, bank.outputs, np.diag(bank.feedthrough))
    np.testing.assert_allclose(system.impulse_response(20), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_time_steps_of_each_mode_and_limited_bands():
    """Against the published formula, term by term."""
    H, N, L = 2, 3, 30
    inv_dt, A_real = random.normal(size=(H, N)) - 2, random.normal(size=(H, N))
    A_imag, B, C = 5 * random.random((H, N)), random.normal(size=(1, H, N, 2)), random.normal(size=(1, H, N, 2))
    arrays = {"inv_dt": inv_dt, "A_real": A_real, "A_imag": A_imag, "B": B, "C": C}
    checkpoint = of({f"kernel.{name}": array for name, array in arrays.items()} | {"D": np.zeros((1, H))})
    A, dt = -np.exp(A_real) - 1j * A_imag, np.exp(inv_dt)
    weights = (B[..., 0] + 1j * B[..., 1])[0] * (C[..., 0] + 1j * C[..., 1])[0] * (np.exp(A * dt) - 1) / A
    for limit in (None, 0.2):
        kept = np.ones_like(dt) if limit is None else dt * A_imag / (2 * np.pi) < limit / 2
        terms = (weights * kept)[..., None] * np.exp((A * dt)[..., None] * np.arange(L))
        found = kernel_of(bank_of(checkpoint, activation="identity", settings={"bandlimit": limit}), L)
        np.testing.assert_allclose(found, 2 * terms.sum(axis=1).real, atol=1e-12)
    assert 0 < kept.sum() < kept.size


def test_names_of_version_3_are_those_of_version_4():
    """The published conversion of checkpoints renames them, and turns the sign of the imaginary part."""
    old = arrays_of("s4_v4_bilinear.pt")
    renamed = {"inv_dt": "log_dt", "A_real": "inv_w_real", "A_imag": "w_imag"}
    new = {}
    for name, array in old.items():
        *path, last = name.split(".")
        path = [part for part in path if part != "layer"]
        if path and path[-1] == "kernel":
            path.append("kernel")
            array = -array if last == "A_imag" else array[:, 0] if last == "inv_dt" else array
        new[".".join([*path, renamed.get(last, last)])] = array
    options = OPTIONS["s4_v4_bilinear.pt"]
    banks = [bank_of(of(arrays), **options) for arrays in (old, new)]
    np.testing.assert_allclose(kernel_of(banks[1], 50), kernel_of(banks[0], 50), atol=1e-12)


@pytest.mark.parametrize("pairs", [False, True])
def test_bare_arrays_by_their_documented_names(pairs):
    poles = 0.9 * np.exp(1j * random.random((2, 3)))
    residues = random.normal(size=(2, 3)) + 1j * random.normal(size=(2, 3))

    def stored(values):
        return np.stack([values.real, values.imag], axis=-1) if pairs else values

    expected = 2 * (residues[..., None] * poles[..., None] ** np.arange(20)).sum(axis=1).real
    bank = bank_of(of({"poles": stored(poles), "residues": stored(residues)}))
    np.testing.assert_allclose(kernel_of(bank, 20), expected, atol=1e-12)
    A, dt = np.log(poles) / 0.1, np.full(2, 0.1)
    C = residues * A / (poles - 1)
    bank = bank_of(of({"layer.A": stored(A), "layer.C": stored(C), "layer.dt": dt, "layer.D": np.ones(2)}))
    expected[:, 0] += 1.0
    np.testing.assert_allclose(kernel_of(bank, 20), expected, atol=1e-12)
    assert isinstance(bank, ContinuousBank)
    with pytest.raises(CheckpointError, match="unstable pole"):
        draw(of({"poles": np.full((1, 1), 1.01), "residues": np.ones((1, 1))}))


def test_a_dense_system_made_diagonal_has_the_same_response():
    A, B, C = random.normal(size=(2, 5, 5)) / 4, random.normal(size=(2, 5)), random.normal(size=(2, 5))
    expected = [[c @ np.linalg.matrix_power(a, t) @ b for t in range(12)] for a, b, c in zip(A, B, C, strict=True)]
    system = diagonalized(A.astype(complex), B.astype(complex), C.astype(complex), np.zeros(2), "it")
    np.testing.assert_allclose(system.impulse_response(12), expected, atol=1e-10)
    assert system.orders.max() == 5
    with pytest.raises(CheckpointError, match="cannot be made diagonal"):
        diagonalized(np.array([[[0.5, 1.0], [0.0, 0.5]]]) + 0j, np.ones((1, 2)), np.ones((1, 2)), np.zeros(1), "it")
    with pytest.raises(CheckpointError, match="radius"):
        diagonalized(np.array([[[1.5]]]) + 0j, np.ones((1, 1)), np.ones((1, 1)), np.zeros(1), "it")


def test_the_hippo_matrix_is_made_diagonal_although_its_eigenvectors_are_nearly_parallel():
    """HiPPO-LegS (arXiv 2008.07669) as single precision stores it; residues in the thousands cancel."""
    size, steps = 64, 200
    n = np.arange(size)
    root = np.sqrt(2.0 * n + 1.0)
    hippo = -np.where(n[:, None] > n, root[:, None] * root, 0.0) - np.diag(n + 1.0)
    hippo = (hippo * (1.0 + 6e-8 * random.normal(size=hippo.shape))) + 6e-8 * random.normal(size=hippo.shape)
    half = 0.5 * 0.02
    inverse = np.linalg.inv(np.eye(size) - half * hippo)
    A, B, C = inverse @ (np.eye(size) + half * hippo), inverse @ (2 * half * root), random.normal(size=size)
    expected, state = [], B
    for _ in range(steps):
        expected.append(C @ state)
        state = A @ state
    system = diagonalized(A[None] + 0j, B[None] + 0j, C[None] + 0j, np.zeros(1), "it")
    error = np.abs(system.impulse_response(steps)[0] - expected).max() / np.abs(expected).max()
    assert error < 1e-7
    assert np.abs(system.residues).max() > 1e3
    assert DiscreteBank(system, np.ones(1)).needs_double_precision
    plain = DiagonalSystem(np.array([[0.9, 0.5j]]), np.ones((1, 2)), np.zeros(1))
    assert not DiscreteBank(plain, np.ones(1)).needs_double_precision


def test_poles_that_turn_many_times_a_step_have_a_twin_that_does_not():
    poles = -random.random((2, 3)) + 1j * np.array([10.0, 700.0, 5000.0])
    steps, weights = np.array([0.1, 0.003]), random.normal(size=(2, 3)) + 1j
    turned, scaled = within_a_turn(poles, steps, weights)
    assert (np.abs(turned.imag * steps[:, None]) <= np.pi + 1e-9).all()
    banks = [ContinuousBank(p, steps, w, np.zeros(2)) for p, w in ((poles, weights), (turned, scaled))]
    np.testing.assert_allclose(kernel_of(banks[1], 50), kernel_of(banks[0], 50), atol=1e-10)


def test_weights_are_made_of_norms_and_directions():
    direction, norm = random.normal(size=(4, 3, 2)), random.random((4, 1, 1))
    expected = norm * direction / np.linalg.norm(direction.reshape(4, -1), axis=1)[:, None, None]
    for names in (("c.weight_g", "c.weight_v"), [f"c.parametrizations.weight.original{n}" for n in (0, 1)]):
        found = plain_weights(dict(zip(names, (norm, direction), strict=True)))
        np.testing.assert_allclose(found["c.weight"], expected)
    with pytest.raises(CheckpointError, match=r"lacks 'c\.weight_v'"):
        plain_weights({"c.weight_g": norm})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"rnn.weight_ih_l0": np.ones((4, 3)), "rnn.weight_hh_l0": np.ones((4, 4))}, "an RNN"),
        ({"act.weight": np.ones(1)}, "PReLU"),
        ({"norm.weight": np.ones(4)}, "without a bias"),
        ({"conv.weight": np.ones((2, 2, 3, 3))}, "3 of a convolution"),
        ({"kernel.A": np.ones((2, 2)), "kernel.nothing": np.ones(3)}, "left over"),
        ({}, "no module"),
    ],
)
def test_layers_that_are_not_read_are_refused_by_name(arrays, message):
    with pytest.raises(CheckpointError, match=message):
        draw(of(arrays))
