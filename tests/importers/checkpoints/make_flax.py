"""Writes the Flax and Orbax checkpoints beside this file, and what their models compute; needs Flax and Orbax.

The parameters have the published names and shapes; the outputs are computed here in numpy, in double precision, step by
step from the papers' equations: S4 (arXiv 2111.00396), S4D (2206.11893), DSS (2203.14343), S5 (2208.04933), LRU
(2303.06349).

    python tests/importers/checkpoints/make_flax.py
"""

import json
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint
from flax import serialization

HERE = Path(__file__).parent
WIDTH, MODES, STEPS = 4, 3, 40
random = np.random.default_rng(0)
made = {}


def normal(*shape, scale=1.0):
    return (scale * random.normal(size=shape)).astype(np.float32)


def complex_of(pairs):
    pairs = np.float64(pairs)
    return pairs[..., 0] + 1j * pairs[..., 1]


def dense(inputs, outputs):
    return {"kernel": normal(inputs, outputs, scale=inputs**-0.5), "bias": normal(outputs, scale=0.2)}


def poles():
    """Parts of [N, H] poles, half of them below the real axis."""
    real = -0.3 - random.random((MODES, WIDTH))
    return np.float32(real), np.float32(6.0 * random.random((MODES, WIDTH)) - 3.0)


def layer(kind):
    """Parameters of a bank whose channels are stacked on the second axis."""
    real, imaginary = poles()
    shared = {"D": normal(1, WIDTH), "log_step": normal(1, WIDTH, scale=0.3) - 2}
    if kind == "s4d":
        unused = {"B_re": np.ones((MODES, WIDTH), np.float32), "B_im": np.zeros((MODES, WIDTH), np.float32)}
        return {"A_re": real, "A_im": imaginary, "C": normal(MODES, WIDTH, 2), **unused, **shared}
    parts = {"Lambda_re": real, "Lambda_im": imaginary, **shared}
    if kind == "dss":
        return {**parts, "W": normal(1, WIDTH, MODES, 2)}
    low = {name: np.complex64(normal(MODES, WIDTH) + 1j * normal(MODES, WIDTH)) for name in ("P", "B")}
    return {**parts, **low, "C": normal(MODES, WIDTH, 2)}


def responses(kind, p):
    """Impulse responses [H, L]."""
    step = np.exp(np.float64(p["log_step"][0]))[:, None]
    t = np.arange(STEPS)
    if kind == "s4d":
        A = (np.float64(p["A_re"]) + 1j * p["A_im"]).T
        weights = complex_of(p["C"]).T * (np.exp(A * step) - 1) / A
        return (weights[..., None] * np.exp((A * step)[..., None] * t)).sum(1).real
    A = (np.float64(p["Lambda_re"]) + 1j * p["Lambda_im"]).T
    if kind == "dss":
        powers = np.exp((A * step)[..., None] * t)
        return (complex_of(p["W"][0])[..., None] / A[..., None] * powers / powers.sum(-1, keepdims=True)).sum(1).real
    found = []
    for channel in range(WIDTH):
        P, B, h = np.complex128(p["P"][:, channel]), np.complex128(p["B"][:, channel]), step[channel, 0] / 2
        matrix = np.diag(A[channel]) - np.outer(P, P.conj())
        one = np.eye(MODES)
        move = np.linalg.solve(one - h * matrix, one + h * matrix)
        state = np.linalg.solve(one - h * matrix, 2 * h * B)
        stored = complex_of(p["C"][:, channel]).conj()
        read = np.linalg.solve((one - np.linalg.matrix_power(move, STEPS)).T, stored)
        row = []
        for _ in range(STEPS):
            row.append((read @ state).real)
            state = move @ state
        found.append(row)
    return np.array(found)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def through(x, parameters):
    return x @ np.float64(parameters["kernel"]) + parameters["bias"]


def normalized(x, parameters):
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return (x - x.mean(-1, keepdims=True)) / spread * parameters["scale"] + parameters["bias"]


def stacked(kind, layers, prenorm):
    """Parameters and outputs of a stacked model."""
    tree = {"encoder": dense(3, WIDTH), "decoder": dense(WIDTH, 2)}
    x = np.float32(random.normal(size=(2, STEPS, 3)))
    y = through(np.float64(x), tree["encoder"])
    for number in range(layers):
        norm = {"scale": 1 + normal(WIDTH, scale=0.2), "bias": normal(WIDTH, scale=0.2)}
        parts = {"seq": layer(kind), "norm": norm, "out": dense(WIDTH, WIDTH), "out2": dense(WIDTH, WIDTH)}
        tree[f"layers_{number}"] = parts
        k, z = responses(kind, parts["seq"]), normalized(y, norm) if prenorm else y
        s = np.stack([sum(k[:, t - j] * z[:, j] for j in range(t + 1)) for t in range(STEPS)], 1)
        s = gelu(s + parts["seq"]["D"][0] * z)
        y = y + through(s, parts["out"]) / (1 + np.exp(-through(s, parts["out2"])))
        y = y if prenorm else normalized(y, norm)
    logits = through(y.mean(1), tree["decoder"])
    return tree, x, logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def single(kind):
    """A bank of one input and output, and what its recurrence gives."""
    x = np.float32(random.normal(size=(2, STEPS, 1)))
    if kind == "s5":
        real, imaginary = (part[:, 0] for part in poles())
        tree = {"Lambda_re": real, "Lambda_im": imaginary, "B": normal(MODES, 1, 2), "C": normal(1, MODES, 2)}
        tree |= {"D": normal(1), "log_step": normal(MODES, 1, scale=0.3) - 2}
        poles_ = np.float64(real) + 1j * imaginary
        p = np.exp(poles_ * np.exp(np.float64(tree["log_step"][:, 0])))
        gains, read = (p - 1) / poles_ * complex_of(tree["B"])[:, 0], 2 * complex_of(tree["C"])[0]
    else:
        tree = {"nu_log": normal(MODES) - 2, "theta_log": normal(MODES), "gamma_log": normal(MODES), "D": normal(1)}
        tree |= {name: normal(MODES, 1) for name in ("B_re", "B_im")}
        tree |= {name: normal(1, MODES) for name in ("C_re", "C_im")}
        p = np.exp(-np.exp(np.float64(tree["nu_log"])) + 1j * np.exp(np.float64(tree["theta_log"])))
        gains = (tree["B_re"] + 1j * tree["B_im"])[:, 0] * np.exp(np.float64(tree["gamma_log"]))
        read = (tree["C_re"] + 1j * tree["C_im"])[0]
    state, y = np.zeros((2, MODES), complex), np.zeros(x.shape)
    for t in range(STEPS):
        state = p * state + gains * x[:, t]
        y[:, t] = (state @ read).real[:, None] + tree["D"] * x[:, t]
    return tree, x, y


def shared(kind, modes=5, channels=WIDTH):
    """A bank that all channels share, and the matrices of its recurrence: poles, inputs, outputs and feedthrough."""
    if kind == "s5":
        tree = {"Lambda_re": -0.3 - np.float32(random.random(modes)), "Lambda_im": normal(modes, scale=8.0)}
        tree |= {"B": normal(modes, channels, 2), "C": normal(channels, modes, 2), "D": normal(channels)}
        tree["log_step"] = normal(modes, 1, scale=0.5) - 1
        continuous = np.float64(tree["Lambda_re"]) + 1j * tree["Lambda_im"]
        p = np.exp(continuous * np.exp(np.float64(tree["log_step"][:, 0])))
        return tree, (p, ((p - 1) / continuous)[:, None] * complex_of(tree["B"]), 2 * complex_of(tree["C"]), tree["D"])
    tree = {"nu_log": normal(modes) - 2, "theta_log": normal(modes), "gamma_log": normal(modes), "D": normal(channels)}
    tree |= {name: normal(modes, channels) for name in ("B_re", "B_im")}
    tree |= {name: normal(channels, modes) for name in ("C_re", "C_im")}
    p = np.exp(-np.exp(np.float64(tree["nu_log"])) + 1j * np.exp(np.float64(tree["theta_log"])))
    inputs = (tree["B_re"] + 1j * tree["B_im"]) * np.exp(np.float64(tree["gamma_log"]))[:, None]
    return tree, (p, inputs, tree["C_re"] + 1j * tree["C_im"], tree["D"])


def driven(x, p, inputs, outputs, feedthrough):
    state, y = np.zeros((len(x), len(p)), complex), np.zeros(x.shape)
    for t in range(x.shape[1]):
        state = p * state + x[:, t] @ inputs.T
        y[:, t] = (state @ outputs.T).real + feedthrough * x[:, t]
    return y


def classifier(kind, layers, prenorm):
    """The classifiers of S5 and of the LRU: layers of a bank, GELU, gate and residual path; mean, and a matrix."""
    tree = {"encoder": {"encoder": dense(3, WIDTH)}, "decoder": dense(WIDTH, 2)}
    x = np.float32(random.normal(size=(2, STEPS, 3)))
    y = through(np.float64(x), tree["encoder"]["encoder"])
    norm_name = "norm" if kind == "s5" else "normalization"
    for number in range(layers):
        bank, system = shared(kind)
        norm = {"scale": 1 + normal(WIDTH, scale=0.2), "bias": normal(WIDTH, scale=0.2)}
        parts = {"seq": bank, norm_name: norm, "out1": dense(WIDTH, WIDTH), "out2": dense(WIDTH, WIDTH)}
        tree["encoder"][f"layers_{number}"] = parts
        s = gelu(driven(normalized(y, norm) if prenorm else y, *system))
        y = y + through(s, parts["out1"]) / (1 + np.exp(-through(s, parts["out2"])))
        y = y if prenorm else normalized(y, norm)
    logits = through(y.mean(1), tree["decoder"])
    return tree, x, logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def alone(kind):
    """A bank by itself."""
    tree, system = shared(kind, modes=6, channels=3)
    x = np.float32(random.normal(size=(2, STEPS, 3)))
    return tree, x, driven(np.float64(x), *system)


def record(name, tree, x, y, options, write=None):
    path = HERE / name
    if write is None:
        path.write_bytes(serialization.to_bytes({"params": tree, "step": 7, "opt_state": {"0": {"count": 7}}}))
    else:
        shutil.rmtree(path, ignore_errors=True)
        write(path.absolute(), {"params": tree})
        (path / "commit_success.txt").unlink(missing_ok=True)  # it has the place where the folder was written
    np.savez_compressed(HERE / f"{name}.npz", x=x, y=y)
    made[name] = options


pre, post = ({"norm_order": order, "pooling": "mean"} for order in ("pre", "post"))
of_steps = {"training_length": STEPS}
record("annotated_s4d", *stacked("s4d", 2, True), pre)
record("annotated_dss", *stacked("dss", 1, False), {**post, **of_steps})
record("annotated_s4", *stacked("s4", 1, True), {**pre, **of_steps})
record("s5_single", *single("s5"), {})
record("lru_single", *single("lru"), {})
with orbax.checkpoint.PyTreeCheckpointer() as checkpointer:
    record("annotated_orbax", *stacked("s4d", 1, True), pre, checkpointer.save)
record("s5_shared", *alone("s5"), {})
record("lru_shared", *alone("lru"), {})
record("s5_model", *classifier("s5", 2, True), pre)
record("lru_model", *classifier("lru", 1, False), post)
(HERE / "flax.json").write_text(json.dumps(made, indent=1) + "\n")
