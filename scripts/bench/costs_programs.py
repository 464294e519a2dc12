"""The programs that `costs.py` and `costs_model.py` measure, made in processes of their own; and what they cost."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from costs_networks import draw_modes, draw_program

from keras_s4.files import write_bytes
from keras_s4.tflite.program.program import Program

CORES = ("m0", "m0+", "m3", "m4", "m7", "m33", "m55", "avr", "rv32")
FIGURES = ("instructions", "low", "high", "likely")
# Single operations with a part of a kernel, and with a form of statement.
_OF_KERNEL, _OF_FORM = 3, 2
# Programs for other cores than the first, to fit to and for the errors: of each kind of architecture, and of what else
# there is; and instructions below which a kernel shows little.
_OTHERS_OF_SIX, _OTHERS, _TINY = (5, 1), {"random": (9, 3), "modes": (5, 2), "int4": (6, 2)}, 150
KERNELS, KERNEL = "kernels", ", kernel"
_LIBRARY = ("memcpy", "memset")


def costs_of(program: Program) -> dict[str, dict[str, Any]]:
    """What a step costs on every core that can be had, by core."""
    found = {core: cost_on(program, core) for core in CORES}
    return {core: cost for core, cost in found.items() if cost is not None}


def cost_on(program: Program, core: str) -> dict[str, Any] | None:
    """What a step costs on a core; None, with the reason on the console, where it cannot be had."""
    from keras_s4.costs import counted
    from keras_s4.costs.avr import measure_on_avr
    from keras_s4.costs.riscv import measure_on_riscv

    others = {"avr": measure_on_avr, "rv32": measure_on_riscv}
    measure = others.get(core, lambda program: counted.measure_on_cortex_m(program, core))
    try:
        cost = measure(program)
    except (RuntimeError, NotImplementedError) as error:
        print(f"{core}: {str(error).splitlines()[0]}", flush=True)
        return None
    return {
        "compiler": cost.compiler,
        "method": cost.method,
        "instructions": cost.instructions,
        "low": cost.cycles.low,
        "high": cost.cycles.high,
        "likely": cost.likely_cycles,
        "code_bytes": cost.code_bytes,
        "constant_bytes": cost.constant_bytes,
        "ram_bytes": cost.ram_bytes,
        "stack_bytes": cost.stack_bytes,
    }


def bytes_of_kernels(folder: Path, core: str) -> dict[str, float]:
    """Code of the kernels and of copies, by the names of `count_code`, from images of kept programs; none of an AVR."""
    from keras_s4.costs.features import count_code, source_of
    from keras_s4.testing.targets import CORES as TARGETS
    from keras_s4.testing.targets import RISCV, build

    target = {"avr": None, "rv32": RISCV}.get(core, TARGETS.get(core.removesuffix("+")))
    found: dict[str, float] = {}
    for path in sorted(folder.glob("*.pickle")) if target is not None else ():
        program = pickle.loads(path.read_bytes())
        named = {name for name in count_code(source_of(program), core) if name.endswith(KERNEL) or name in _LIBRARY}
        if named <= found.keys():
            continue
        functions = build(program, target, "riscv" if core == "rv32" else "gcc").functions
        sizes = {name if name in _LIBRARY else f"{name}{KERNEL}": symbol.size for name, symbol in functions.items()}
        found |= {name: float(size) for name, size in sizes.items() if name in named}
    return found


def export_sizes(known: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Keeps programs of models of known sizes, `NAME.pickle`."""
    from keras_s4.costs.untrained import Sizes, untrained_program

    for name, sizes in known.items():
        _keep(folder / f"{name}.pickle", lambda sizes=sizes: untrained_program(Sizes(**sizes)))


def export_kinds(first: int, count: int, folder: Path) -> None:
    """Keeps programs of random architectures of all kinds in turn, `KIND_INDEX.pickle`."""
    import keras

    from keras_s4.architectures import KINDS

    for index in range(first, first + count):
        keras.backend.clear_session()
        kind = KINDS[index % len(KINDS)]
        _keep(folder / f"{kind}_{index}.pickle", lambda index=index, kind=kind: draw_program(kind, index))


def export_modes(first: int, count: int, folder: Path) -> None:
    """Keeps programs of random networks whose channels share modes, `modes_SEED.pickle`."""
    import keras

    for seed in range(first, first + count):
        keras.backend.clear_session()
        _keep(folder / f"modes_{seed}.pickle", lambda seed=seed: draw_modes(seed))


def export_int4(first: int, count: int, folder: Path) -> None:
    """Keeps programs of random networks of S4 blocks whose weights have 4 bits, `int4_SEED.pickle`."""
    import keras

    for seed in range(first, first + count):
        keras.backend.clear_session()
        _keep(folder / f"int4_{seed}.pickle", lambda seed=seed: draw_program("dss", seed, weights="int4"))


def export_random(first: int, count: int, folder: Path) -> None:
    """Keeps programs of models that mix all layers that there are, `random_SEED.pickle`."""
    import keras

    from keras_s4.testing.architectures import random_model
    from keras_s4.tflite import convert

    for seed in range(first, first + count):
        keras.backend.clear_session()

        def export(seed: int = seed) -> Program:
            drawn = random_model(seed)
            data = drawn.data if len(drawn.data) > 1 else drawn.data[0]
            return convert(drawn.model, data, **drawn.format).program

        _keep(folder / f"random_{seed}.pickle", export)


def export_operations(folder: Path) -> None:
    """Keeps operations of the programs that are there, each as a program, `operation_INDEX.pickle`.

    So many that every part of a kernel and every form of a statement is in some, in different sizes.
    """
    from keras_s4.costs.features import count_work, source_of
    from keras_s4.testing.programs import SINGLE, single

    finished = folder / "operations"
    if finished.exists():
        return
    programs = [pickle.loads(path.read_bytes()) for path in sorted(folder.glob("*_*.pickle"))]
    parts = (part for program in programs for part in operations_alone(program))
    seen: Counter[str] = Counter()
    kept = 0
    for part in [*parts, *(single(name, lowered=True) for name in SINGLE), *banks_of_modes()]:
        source = source_of(part)
        names = set(count_work(source, "m4")) | set(count_work(source, "m55"))
        if any(seen[name] < (_OF_KERNEL if _is_kernel(name) else _OF_FORM) for name in names):
            _keep(folder / f"operation_{kept}.pickle", lambda part=part: part)
            seen.update(names)
            kept += 1
    write_bytes(finished, str(kept).encode())


def banks_of_modes() -> Iterator[Program]:
    """Steps of modes alone, with states that need no clamp, which few networks have, and that do."""
    from keras_s4.testing.program_builder import Builder

    for modes, fed in ((5, None), (14, None), (45, None), (9, 4), (25, 0), (40, 31)):
        b = Builder(modes, lowered=True)
        x = b.activation(2 * modes, "int16", 2.0**-12, name="x")
        yield b.program(x, b.modal_step(x) if fed is None else b.modal_step(x, limit=2**30, feedback=fed))


def choose_programs(rows: Mapping[str, Mapping[str, Any]], held: Collection[str], core: str) -> list[str]:
    """Programs that another core than the first is measured with: small ones of all kinds, and kernels of its own.

    Args:
        rows: of the first core, by name, with its costs and the program.
        held: names of those that are not fitted to.
        core: another core.
    """
    from keras_s4.costs.features import count_work, source_of
    from keras_s4.costs.kernels import DSP, form_on

    sizes = {name: row["cost"]["instructions"] * row["steps"] for name, row in rows.items()}
    ordered = sorted(rows, key=sizes.get)
    chosen = []
    for kind in sorted({name.rpartition("_")[0] for name in ordered} - {"operation"}):
        of_kind = [name for name in ordered if name.rpartition("_")[0] == kind]
        fitted, others = _OTHERS.get(kind, _OTHERS_OF_SIX)
        chosen += [name for name in of_kind if name not in held][1 : 1 + fitted]
        chosen += [name for name in of_kind if name in held][1 : 1 + others]
    seen: Counter[str] = Counter()
    for name in ordered if form_on(core) != DSP else ():
        if name.startswith("operation_") and sizes[name] > _TINY:
            parts = {part for part in count_work(source_of(rows[name]["program"]), core) if _is_kernel(part)}
            if any(seen[part] < _OF_FORM for part in parts):
                seen.update(parts)
                chosen.append(name)
    return chosen


def _is_kernel(name: str) -> bool:
    return name.startswith("s4_") and ", " in name and "=" not in name


def operations_alone(program: Program) -> Iterator[Program]:
    """Programs of one operation each, with what C computes in the same loop; but for those that cannot stand alone."""
    from keras_s4.tflite.c99.schedule import schedule

    plan = schedule(program)
    makers = {operation.result.name: operation for operation in plan.program.operations}
    behind = {id(lookup) for lookup in plan.tabulated.values()}
    for operation in plan.program.operations:
        if id(operation) in behind or operation.result.name in plan.inlined:
            continue
        inlined = [makers[tensor.name] for tensor in operation.reads() if tensor.name in plan.inlined]
        lookup = plan.tabulated.get(operation.result.name)
        group = [*inlined, operation, *([lookup] if lookup else [])]
        part = _program_of(program, group)
        try:
            part.check()
        except ValueError:
            continue
        yield part


def _program_of(program: Program, operations: list) -> Program:
    written = {tensor.name for operation in operations for tensor in operation.writes()}
    held = {operation.state.name for operation in operations if operation.holds_state and operation.state is not None}
    read = {tensor.name: tensor for operation in operations for tensor in operation.reads() if tensor.data is None}
    return Program(
        name=program.name,
        inputs=tuple(tensor for name, tensor in read.items() if name not in written | held),
        outputs=(operations[-1].result,),
        states=tuple(state for state in program.states if state.before.name in held),
        operations=tuple(operations),
    )


def _keep(path: Path, make: Callable[[], Program]) -> None:
    """Writes a program that is not there yet."""
    if not path.exists():
        write_bytes(path, pickle.dumps(make()))
