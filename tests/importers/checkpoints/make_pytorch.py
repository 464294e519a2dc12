"""Writes the PyTorch checkpoints beside this file, and what their models compute; needs PyTorch and safetensors.

The layers are written from the equations of the papers, under the published names of their parameters, and compute
impulse responses term by term in double precision: S4D (arXiv 2206.11893), S4 (2111.00396), DSS (2203.14343).

    python tests/importers/checkpoints/make_pytorch.py
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
CHANNELS, MODES, STEPS = 3, 4, 40
torch.manual_seed(0)
made = {}


def complex_of(pairs):
    return torch.view_as_complex(pairs.double().contiguous())


def normal(*shape):
    return nn.Parameter(torch.randn(*shape))


def convolved(u, past, future, D):
    """Inputs [B, H, L] with responses [C, H, L], those of future inputs (the next one first), and D: [B, C H, L]."""
    steps = u.shape[-1]
    y = D[None, :, :, None] * u[:, None]
    for t in range(steps):
        for s in range(steps):
            if s <= t:
                y[..., t] = y[..., t] + past[:, :, t - s] * u[:, None, :, s]
            elif future is not None:
                y[..., t] = y[..., t] + future[:, :, s - t - 1] * u[:, None, :, s]
    return y.flatten(1, 2)


class S4DKernel(nn.Module):
    def __init__(self):
        super().__init__()
        self.C = normal(CHANNELS, MODES, 2)
        self.log_dt = nn.Parameter(torch.rand(CHANNELS) - 3.0)
        self.log_A_real = nn.Parameter(torch.randn(CHANNELS, MODES) * 0.3 - 0.7)
        self.A_imag = nn.Parameter(math.pi * torch.arange(MODES).float().repeat(CHANNELS, 1) + torch.rand(1))

    def responses(self, steps):
        A = -self.log_A_real.double().exp() + 1j * self.A_imag.double()
        dt = self.log_dt.double().exp()[:, None]
        weights = 2 * complex_of(self.C) * ((A * dt).exp() - 1) / A
        return torch.stack([(weights * (A * dt * t).exp()).sum(-1).real for t in range(steps)], -1)[None]


class S4Kernel(nn.Module):
    """The diagonal kernel of models/s4, version 4, and with `rank` the one that has a low-rank part."""

    def __init__(self, copies=CHANNELS, heads=1, disc="zoh", rank=0, stored_length=0):
        super().__init__()
        self.disc, self.rank = disc, rank
        self.inv_dt = nn.Parameter(torch.rand(CHANNELS, 1) - 3.0)
        self.A_real = nn.Parameter(torch.randn(copies, MODES) * 0.3 - 0.7)
        self.A_imag = nn.Parameter(3 * torch.arange(1, MODES + 1).float().repeat(copies, 1))
        self.B, self.C = normal(1, copies, MODES, 2), normal(heads, CHANNELS, MODES, 2)
        if rank:
            self.P = nn.Parameter(0.5 * torch.randn(rank, copies, MODES, 2))
            self.register_buffer("l_kernel", torch.tensor(stored_length))

    def responses(self, steps):
        repeats = CHANNELS // self.A_real.shape[0]
        A = (-self.A_real.double().exp() - 1j * self.A_imag.double()).repeat(repeats, 1)
        B, C = complex_of(self.B)[0].repeat(repeats, 1), complex_of(self.C)
        dt = self.inv_dt.double().exp()
        if self.rank:
            return self._dense(A, B, C, dt, complex_of(self.P).repeat(1, repeats, 1), steps)
        pole, gain = (A * dt).exp(), ((A * dt).exp() - 1) / A
        if self.disc == "bilinear":
            pole, gain = (1 + A * dt / 2) / (1 - A * dt / 2), dt / (1 - A * dt / 2)
        return torch.stack([2 * (C * B * gain * pole**t).sum(-1).real for t in range(steps)], -1)

    def _dense(self, A, B, C, dt, P, steps):
        """The recurrence with whole matrices, by the bilinear rule."""
        A, B, C, P = (torch.cat([part, part.conj()], -1) for part in (A, B, C, P))
        matrix = torch.diag_embed(A) - torch.einsum("rhn,rhm->hnm", P, P.conj())
        one, half = torch.eye(2 * MODES, dtype=A.dtype), (dt / 2)[:, :, None]
        step = torch.linalg.solve(one - half * matrix, one + half * matrix)
        state = torch.linalg.solve(one - half * matrix, 2 * half * B[:, :, None])
        if self.l_kernel:
            rest = one - torch.linalg.matrix_power(step, int(self.l_kernel))
            C = torch.einsum("chn,hnm->chm", C, torch.linalg.inv(rest))
        found = []
        for _ in range(steps):
            found.append(torch.einsum("chn,hnk->ch", C, state).real)
            state = step @ state
        return torch.stack(found, -1)


class DSSKernel(nn.Module):
    def __init__(self, version="softmax", heads=1):
        super().__init__()
        self.version = version
        self.log_dt = nn.Parameter(torch.rand(CHANNELS, 2) - 3.0)
        poles = torch.stack([-0.3 - torch.rand(MODES), 3.0 * torch.arange(MODES) + torch.rand(MODES)], -1)
        if version == "exp":
            self.Lambda_log_neg_re = nn.Parameter((-poles[:, 0]).log())
            self.Lambda_im = nn.Parameter(poles[:, 1])
        else:
            self.Lambda = nn.Parameter(poles)
        self.W = normal(heads, CHANNELS, MODES, 2)

    def responses(self, steps):
        if self.version == "exp":
            real, imaginary = -self.Lambda_log_neg_re.double().exp(), self.Lambda_im.double()
        else:
            real, imaginary = self.Lambda.double().unbind(-1)
        dt = self.log_dt.double().exp()
        z, poles, W = dt[:, :1] * real + 1j * dt[:, 1:] * imaginary, real + 1j * imaginary, complex_of(self.W)
        powers = torch.stack([(z * t).exp() for t in range(steps)], -1)
        if self.version == "softmax":
            W = W / poles / powers.sum(-1)
        elif self.version == "exp":
            W = W * (z.exp() - 1) / poles
        return torch.einsum("chn,hnt->cht", W, powers).real  # clip-no-scale: W as it is


class Layer(nn.Module):
    """A kernel, GELU, a matrix, and a gated linear unit where the matrix has twice as many rows."""

    def __init__(self, kernel, heads=1, rows=2 * CHANNELS, both=False, sequential=True):
        super().__init__()
        self.both, self.kernel = both, kernel
        minimal = isinstance(kernel, S4DKernel)
        self.D = normal(CHANNELS) if minimal else normal(heads, CHANNELS)
        matrix = nn.Conv1d(CHANNELS, rows, 1) if minimal else nn.Linear(heads * CHANNELS, rows)
        self.output_linear = nn.Sequential(matrix) if sequential else matrix

    def forward(self, u):
        """[B, L, H]"""
        kernels = self.kernel.responses(u.shape[1])
        past, future = kernels.chunk(2) if self.both else (kernels, None)
        D = self.D.double().reshape(-1, CHANNELS)
        y = nn.functional.gelu(convolved(u.double().transpose(1, 2), past, future, D)).transpose(1, 2)
        matrix = self.output_linear[0] if isinstance(self.output_linear, nn.Sequential) else self.output_linear
        y = y @ matrix.weight.double().flatten(1).T + matrix.bias.double()
        if y.shape[-1] == u.shape[-1]:
            return y
        value, gate = y.chunk(2, -1)
        return value * gate.sigmoid()


class Version4Block(nn.Module):
    """The layer with its convolution one level below, as version 4 names it."""

    def __init__(self, kernel, **arguments):
        super().__init__()
        inner = Layer(kernel, **arguments)
        self.layer = nn.Module()
        self.layer.D, self.layer.kernel, self.output_linear = inner.D, kernel, inner.output_linear
        self.run = [inner]  # a list, so that its parameters are not named twice

    def forward(self, u):
        return self.run[0](u)


class S4Model(nn.Module):
    def __init__(self, features, classes, layers, prenorm):
        super().__init__()
        self.prenorm = prenorm
        self.encoder = nn.Linear(features, CHANNELS)
        self.s4_layers = nn.ModuleList([Layer(S4DKernel()) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(CHANNELS) for _ in range(layers)])
        self.decoder = nn.Linear(CHANNELS, classes)

    def forward(self, x):
        x = self.encoder(x).double()
        for layer, norm in zip(self.s4_layers, self.norms, strict=True):
            norm = norm.double()
            x = x + layer(norm(x)) if self.prenorm else norm(x + layer(x))
        return self.decoder.double()(x.mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind, **arguments):
        super().__init__()
        self.rnn, self.fc = kind(3, 5, batch_first=True, **arguments), nn.Linear(5, 2)

    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 6, 5, stride=2, padding=2))
        self.bn, self.narrow, self.fc = nn.BatchNorm1d(6), nn.Conv1d(6, 6, 3, groups=3, padding=1), nn.Linear(6, 2)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 2.0)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x.transpose(1, 2))))
        return self.fc((x + nn.functional.silu(self.narrow(x))).mean(-1))


def shake(model):
    """Moves what begins as ones and zeros, so that mistakes about it would show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def record(name, model, inputs, options, wrap=lambda state: state):
    """The checkpoint before the outputs: computing those turns some layers to double precision."""
    model = shake(model).eval()
    if name.endswith(".safetensors"):
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, HERE / name)
    else:
        torch.save(wrap(model.state_dict()), HERE / name)
    with torch.no_grad():
        outputs = model(inputs)
    np.savez_compressed(HERE / f"{name}.npz", x=inputs.float().numpy(), y=outputs.double().numpy())
    made[name] = options


signal = torch.randn(2, STEPS, CHANNELS)
gelu = {"activation": "gelu"}
record("s4d.pt", Layer(S4DKernel()), signal, {})
post = {"norm_order": "post", "pooling": "mean"}
best = {"acc": 0.9, "epoch": 3}
record("s4d_model_post.pt", S4Model(3, 4, 2, False), signal, post, lambda state: {"model": state, **best})
lightning = {"epoch": 1, "pytorch-lightning_version": "2.1.0", "hyper_parameters": {"lr": 1e-3, "sizes": (3, 4)}}
record(
    "s4d_model_pre.ckpt",
    S4Model(3, 4, 1, True),
    signal,
    {"norm_order": "pre", "pooling": "mean"},
    lambda state: {**lightning, "state_dict": {f"model.{name}": value for name, value in state.items()}},
)
record("s4_v4.pt", Version4Block(S4Kernel(copies=1)), signal, gelu)
bilinear = {**gelu, "settings": {"disc": "bilinear"}}
record("s4_v4_bilinear.pt", Version4Block(S4Kernel(disc="bilinear")), signal, bilinear)
record("s4_v4_both.pt", Version4Block(S4Kernel(heads=4), heads=2, both=True), signal, gelu)
record("s4_v4_low_rank.pt", Version4Block(S4Kernel(rank=1, stored_length=64)), signal, gelu)
record("dss_softmax.pt", Layer(DSSKernel(), rows=CHANNELS, sequential=False), signal, {
    **gelu, "training_length": STEPS, "settings": {"version": "softmax"}
})  # fmt: skip
record("dss_exp_both.pt", Layer(DSSKernel("exp", 2), rows=CHANNELS, both=True, sequential=False), signal, {
    **gelu, "settings": {"version": "exp"}
})  # fmt: skip
record("dss_clip.safetensors", Layer(DSSKernel("clip"), rows=CHANNELS, sequential=False), signal, {
    **gelu, "settings": {"version": "clip-no-scale"}
})  # fmt: skip
record("gru.pt", Recurrent(nn.GRU, num_layers=2), signal, {"pooling": "last"})
record("lstm.pth", Recurrent(nn.LSTM), signal, {"pooling": "last"}, lambda state: {"state_dict": state})
order = "conv(stride=2,padding=2) bn relu [ narrow(stride=1,padding=1,groups=3) silu ] mean fc"
record("convolutional.pt", Convolutional(), signal, {"layers": order})
torch.save(nn.Linear(2, 2), HERE / "whole_object.pt")  # code by name, which is refused
(HERE / "pytorch.json").write_text(json.dumps(made, indent=1) + "\n")
