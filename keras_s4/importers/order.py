"""In which order modules run: a line of words, written by hand or for a model that is known.

`encoder [ s4_layers.0 ] norms.0 mean decoder`: modules by their paths; `[ ... ]` adds its input to its output;
functions and poolings by name; `conv(stride=2,padding=0)` with what a module's parameters do not say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from keras_s4.importers.checkpoint import CheckpointError
from keras_s4.importers.modules.module import Module
from keras_s4.importers.network import ACTIVATIONS, HEADS, POOLINGS, Network

OPEN, CLOSE, GLU, PRODUCT = "[", "]", "glu", "gate"
WORDS = (*ACTIVATIONS, *HEADS, *POOLINGS, GLU)
_WORD = re.compile(r"([^\s()\[\]]+)(?:\(([^()]*)\))?|[\[\]]")


def compose(order: str | Sequence[str], modules: Mapping[str, Module]) -> Network:
    """The network of an order.

    Args:
        order: a line, or its words.
        modules: by path.

    Raises:
        ValueError: a word that is none, modules that are left over, widths that do not fit.
    """
    words = parse(order, modules)
    first = next((modules[name] for name, _ in words if name in modules), None)
    if first is None:
        raise CheckpointError(f"layers={order!r:.200} names no module of the checkpoint: {_names(modules)}.")
    left = [path for path in modules if path not in {name for name, _ in words}]
    if left:
        raise CheckpointError(f"layers={order!r:.200} leaves over {_names({path: modules[path] for path in left})}.")
    network = Network(first.features, first.kind == "embedding")
    place, open_at = 0, []
    for word, given in words:
        if word == OPEN:
            open_at.append(place)
        elif word == CLOSE:
            if not open_at:
                raise CheckpointError(f"layers={order!r:.200} closes a bracket that is not open.")
            place = network.residual("residual", open_at.pop(), place)
        elif word in modules:
            place = modules[word].build(network, place, given)
        else:
            place = add_word(network, word, place)
    if open_at:
        raise CheckpointError(f"layers={order!r:.200} does not close a bracket.")
    return network


def add_word(network: Network, word: str, place: int) -> int:
    """What has no parameters."""
    if word == GLU:
        return network.glu("glu", place)
    if word in POOLINGS:
        if not network.nodes[place].has_time:
            raise CheckpointError(f"{word!r} pools over time, but stands behind another pooling.")
        return network.add(word, word, place)
    return network.activation(word, place, word)


def parse(order: str | Sequence[str], modules: Mapping[str, Module]) -> list[tuple[str, dict[str, str]]]:
    """The words of an order, each with what stands in its brackets."""
    text = order if isinstance(order, str) else " ".join(map(str, order))
    if _WORD.sub("", text).strip():
        raise CheckpointError(f"layers={order!r:.200} cannot be read; expected words, [ ], and name(key=value,...).")
    named = {module.name: path for path, module in modules.items()}
    words = []
    for found in _WORD.finditer(text):
        word, inside = found[1] or found[0], found[2]
        path = named.get(word, word)
        if path not in modules and word not in (*WORDS, OPEN, CLOSE):
            known = ", ".join(WORDS)
            raise CheckpointError(f"layers= names {word!r}; expected modules ({_names(modules)}), or {known}.")
        pairs = [each.partition("=") for each in inside.split(",")] if inside else []
        words.append((path, {key.strip(): value.strip() for key, _, value in pairs}))
    return words


def _names(modules: Mapping[str, Module]) -> str:
    return ", ".join(f"{module.name} ({module.title})" for module in modules.values())
