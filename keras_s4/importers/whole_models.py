"""Models that are known by the paths of their modules, and what of them no parameter says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from keras_s4.importers.answers import Answers
from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.module import Module
from keras_s4.importers.network import Network
from keras_s4.importers.order import add_word, compose

NORM_ORDERS, POOLING_WORDS = ("pre", "post"), ("mean", "last", "none")
OUTPUTS = ("log_softmax", "softmax", "logits")
_NUMBERED = re.compile(r"(.+)\.(\d+)\Z")
_FLAX_LAYER = re.compile(r"((?:.+\.)?)layers_(\d+)\.(seq|norm|normalization|out|out1|out2)\Z")


def assemble(modules: Mapping[str, Module], answers: Answers) -> tuple[Network, str]:
    """The network of the modules of a checkpoint, and what it is, in words.

    Raises:
        ValueError: their order cannot be known.
    """
    if not modules:
        raise CheckpointError("The checkpoint has no module that is known.")
    if len(modules) == 1:
        module = next(iter(modules.values()))
        return compose(module.name, modules), module.title
    for known in (_flax_model, _stack, _recurrent_chain):
        found = known(modules, answers)
        if found is not None:
            return found
    there = ", ".join(f"{module.name} ({module.title})" for module in modules.values())
    raise CheckpointError(
        f"The checkpoint does not say in which order its modules run, nor with what between them: {there}. Give "
        "layers='...', such as layers='conv(stride=1,padding=1) relu gru last fc', with [ ... ] around what a residual "
        "path goes past."
    )


def _stack(modules: Mapping[str, Module], answers: Answers) -> tuple[Network, str] | None:
    """`S4Model` of the examples: encoder, layers and normalisations in two lists, decoder."""
    layers = _listed(modules, ("s4",))
    norms = _listed(modules, ("normalization",))
    rest = [path for path in modules if path not in {*layers, *norms}]
    if not layers or any(modules[path].kind != "linear" for path in rest):
        return None
    if len(norms) not in (0, len(layers)):
        raise CheckpointError(f"The checkpoint has {len(layers)} layers, but {len(norms)} normalisations: {norms}.")
    lacks = [name for name in ("encoder", "decoder") if layers[0] == "s4_layers.0" and name not in modules]
    if lacks:
        raise CheckpointError(f"The checkpoint lacks {' and '.join(lacks)}, which a model with s4_layers has.")
    before = [path for path in rest if modules[path].outputs == modules[layers[0]].features]
    encoder = before[:1] if before and list(modules).index(before[0]) < list(modules).index(layers[0]) else []
    decoder = [path for path in rest if path not in encoder]
    if len(decoder) > 1:
        return None
    order = "post"
    if norms:
        order = answers.ask("norm_order", f"whether {norms[0]} stands before or behind its layer", NORM_ORDERS)
    words = list(encoder)
    for place, layer in enumerate(layers):
        norm = [norms[place]] if norms else []
        words += [*(["[", *norm, layer, "]"] if order == "pre" else ["[", layer, "]", *norm])]
    answers.note("a residual path around each layer, as in the examples of state-spaces/s4 and ag1988/dss")
    words += _pooled(modules, decoder, answers)
    return compose(" ".join(modules[word].name if word in modules else word for word in words), modules), (
        f"a stack of {len(layers)} layers: {' '.join(words)}"
    )


def _recurrent_chain(modules: Mapping[str, Module], answers: Answers) -> tuple[Network, str] | None:
    """Recurrent layers or banks, and a matrix behind them."""
    kinds = [module.kind for module in modules.values()]
    if kinds[-1] != "linear" or not all(kind in ("recurrent", "bank", "embedding") for kind in kinds[:-1]):
        return None
    *body, decoder = modules
    words = body + _pooled(modules, [decoder], answers)
    answers.note("modules run in the order of the checkpoint")
    text = " ".join(modules[word].name if word in modules else word for word in words)
    return compose(text, modules), f"a chain: {text}"


def _pooled(modules: Mapping[str, Module], decoder: list[str], answers: Answers) -> list[str]:
    """What stands behind the last layer of sequences."""
    if not decoder:
        return []
    pooling = answers.ask("pooling", f"over time, before {decoder[0]}", POOLING_WORDS)
    return [*([] if pooling == "none" else [pooling]), *decoder]


def _flax_model(modules: Mapping[str, Module], answers: Answers) -> tuple[Network, str] | None:
    """`StackedModel` of annotated-s4, and the classifiers of S5 and the LRU."""
    found = {path: match for path in modules if (match := _FLAX_LAYER.match(path))}
    if not found:
        return None
    roots = {match[1] for match in found.values()}
    root = next(iter(roots))
    encoder, decoder = f"{root}encoder", "decoder"
    rest = [path for path in modules if path not in found and path not in (encoder, decoder)]
    if len(roots) != 1 or rest:
        raise CheckpointError(
            f"{', '.join(rest or sorted(roots))} stands beside the layers of a stacked model; what for?"
        )
    count = 1 + max(int(match[2]) for match in found.values())
    missing = [path for path in (encoder, decoder) if path not in modules]
    missing += [f"{root}layers_{n}.seq" for n in range(count) if f"{root}layers_{n}.seq" not in modules]
    if missing:
        raise CheckpointError(f"The checkpoint lacks {', '.join(missing)}.")
    norm_order = answers.ask("norm_order", "prenorm: whether the normalisation stands before its layer", NORM_ORDERS)
    net = Network(modules[encoder].features)
    place = modules[encoder].build(net, 0, {})
    for number in range(count):
        place = _flax_layer(modules, f"{root}layers_{number}", norm_order, net, place, answers)
    pooling = answers.ask("pooling", "over time, before the decoder", POOLING_WORDS)
    place = place if pooling == "none" else add_word(net, pooling, place)
    place = modules[decoder].build(net, place, {})
    outputs = answers.option("outputs", "log_softmax", OUTPUTS)
    if outputs == "log_softmax":
        answers.note("outputs are logarithms, as there; a device has none of them: outputs='softmax' or 'logits'")
    net.activation("outputs", place, "identity" if outputs == "logits" else outputs)
    if pooling == "none":
        answers.note("inputs as the encoder takes them: neither divided by 255 nor delayed by a step")
    return net, f"a stacked model of {count} layers with {modules[f'{root}layers_0.seq'].title}"


def _flax_layer(modules, path: str, norm_order: str, net: Network, place: int, answers: Answers) -> int:
    """One layer: normalisation, bank, GELU, matrices and gate, and a residual path."""
    norm = next((modules[f"{path}.{name}"] for name in ("norm", "normalization") if f"{path}.{name}" in modules), None)
    if norm is None:
        raise CheckpointError(f"The checkpoint lacks {path}.norm.")
    start = place
    if norm_order == "pre":
        place = norm.build(net, place, {})
    place = bank = modules[f"{path}.seq"].build(net, place, {})
    answers.note("activation gelu_tanh, as Flax has it")
    place = net.activation(f"{path}.gelu", place, "gelu_tanh")
    value = next((f"{path}.{name}" for name in ("out", "out1") if f"{path}.{name}" in modules), None)
    gate = f"{path}.out2" if f"{path}.out2" in modules else None
    if gate is not None:
        opening = net.activation(f"{path}.opening", modules[gate].build(net, place, {}), "sigmoid")
        if value is not None:
            place = modules[value].build(net, place, {})
        else:  # of S5: the activation reaches the value, or the gate alone
            half = answers.setting("activation", f"of {path}, S5", ("half_glu1", "half_glu2"))
            place = place if half == "half_glu1" else bank
        place = net.add("multiply", f"{path}.product", (place, opening))
    elif value is not None:
        place = modules[value].build(net, place, {})
    place = net.residual(f"{path}.residual", start, place)
    return norm.build(net, place, {}) if norm_order == "post" else place


def _listed(modules: Mapping[str, Module], kinds: tuple[str, ...]) -> list[str]:
    """Paths of modules of a kind in a numbered list, in its order; empty if they are in several lists, or none."""
    paths = [path for path, module in modules.items() if module.kind in kinds]
    found = [_NUMBERED.match(path) for path in paths]
    if not paths or not all(found) or len({match[1] for match in found}) != 1:
        return []
    numbers = sorted(int(match[2]) for match in found)
    if numbers != list(range(len(numbers))):
        lacks = min(set(range(len(numbers))) - set(numbers))
        raise CheckpointError(f"The checkpoint lacks {found[0][1]}.{lacks}.")
    return sorted(paths, key=lambda path: int(_NUMBERED.match(path)[2]))
