"""The states of a `.tflite` that are resource variables: which they are, and that they are used as this package does.

A runtime that reads a variable before it has a value, or one whose name another has too, computes nonsense or stops.
"""

from __future__ import annotations

from keras_s4.tflite.flatbuffer.summary import Subgraph, TensorSummary, Variable


def variables_of(main: Subgraph, initializer: Subgraph | None) -> tuple[Variable, ...]:
    """The variables of a file, in the order of their handles; checks them.

    In each step every variable is read once and then assigned once. Before the first step, CALL_ONCE runs the
    initializer, which assigns zeros to each.

    Args:
        main: the subgraph of a step.
        initializer: the second subgraph, None if there is none.

    Raises:
        ValueError: "damaged .tflite: ..." where that is not so.
    """
    variables = []
    for name, uses in _uses_of(main).items():
        if [operator for operator, _ in uses] != ["READ_VARIABLE", "ASSIGN_VARIABLE"]:
            found = ", ".join(operator for operator, _ in uses) or "nothing"
            raise ValueError(
                f"damaged .tflite: a step has {found} for variable {name!r}; expected READ_VARIABLE, ASSIGN_VARIABLE."
            )
        before, after = (main.tensors[index] for _, index in uses)
        _check_equal(name, before, after)
        variables.append(Variable(name, before.shape, before.type, before.bytes))
    _check_call(main, initializer, bool(variables))
    if initializer:
        _check_initializer(initializer, variables)
    return tuple(variables)


def _uses_of(graph: Subgraph) -> dict[str, list[tuple[str, int]]]:
    """For each variable, the operators that read or assign it, each with the index of the tensor with the value."""
    names: dict[int, str] = {}
    uses: dict[str, list[tuple[str, int]]] = {}
    rows = zip(graph.operators, graph.operator_inputs, graph.operator_outputs, graph.arguments, strict=True)
    for operator, inputs, outputs, argument in rows:
        if operator == "VAR_HANDLE":
            if argument in uses:
                raise ValueError(f"damaged .tflite: two variables are named {argument!r}.")
            names[outputs[0]], uses[argument] = argument, []
        elif operator in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            if inputs[0] not in names:
                raise ValueError(f"damaged .tflite: {operator} uses tensor {inputs[0]}, which no VAR_HANDLE writes.")
            value = outputs[0] if operator == "READ_VARIABLE" else inputs[1]
            uses[names[inputs[0]]].append((operator, value))
    return uses


def _check_equal(name: str, before: TensorSummary | Variable, after: TensorSummary) -> None:
    ends = [(end.type, end.shape) for end in (before, after)]
    if ends[0] != ends[1]:
        raise ValueError(f"damaged .tflite: variable {name!r} is {ends[0]}, and {ends[1]} is assigned to it.")


def _check_call(main: Subgraph, initializer: Subgraph | None, needed: bool) -> None:
    """CALL_ONCE is the first operator, and there is no other."""
    calls = [(index, main.arguments[index]) for index, name in enumerate(main.operators) if name == "CALL_ONCE"]
    if calls != ([(0, 1)] if needed else []) or (initializer is not None) != needed:
        raise ValueError(
            f"damaged .tflite: CALL_ONCE as (operator, subgraph) {calls}; expected [(0, 1)] and a second subgraph in a "
            "file with variables, and neither in others."
        )


def _check_initializer(graph: Subgraph, variables: list[Variable]) -> None:
    uses, zeros = _uses_of(graph), {index for index, tensor in enumerate(graph.tensors) if tensor.zeros}
    for operator, inputs, outputs in zip(graph.operators, graph.operator_inputs, graph.operator_outputs, strict=True):
        if operator == "BROADCAST_TO" and inputs[0] in zeros:
            zeros |= set(outputs)
    known = set(graph.operators) <= {"VAR_HANDLE", "ASSIGN_VARIABLE", "BROADCAST_TO"}
    if not known or graph.inputs or graph.outputs or set(uses) != {variable.name for variable in variables}:
        raise ValueError("damaged .tflite: the second subgraph does more or less than assign zeros to each variable.")
    for variable in variables:
        if len(uses[variable.name]) != 1 or uses[variable.name][0][1] not in zeros:
            raise ValueError(f"damaged .tflite: variable {variable.name!r} does not start as zeros.")
        _check_equal(variable.name, variable, graph.tensors[uses[variable.name][0][1]])
