"""From a program back to a static layer graph: every size is a number, and any exporter can write it.

Variables become values, nodes leaves. What the program keeps between runs (parameters and states) becomes an
initializer that is an input as well, so that whoever runs the graph may feed its next content.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.graph.layer import Graph, Leaf
from toolkit.graph.parameter import Parameter
from toolkit.graph.value import Value


class Names:
    """One name for every variable, none twice; ``taken`` are those of a graph around."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._names: dict[Variable, str] = {}
        self.outputs: dict[str, str] = {}  # the name of every output of the program

    def claim(self, variable: Variable, name: str) -> str:
        """Give a variable that name, or one like it where the name is taken."""
        self._names[variable] = self.fresh(name)
        return self._names[variable]

    def share(self, variable: Variable, name: str) -> None:
        """Let a variable be what the graph around has under that name."""
        self._names[variable] = name

    def fresh(self, wanted: str) -> str:
        """``wanted``, with a number behind it where the name is taken."""
        found, number = wanted, 1
        while not found or found in self._taken:
            number += 1
            found = f"{wanted}#{number}"
        self._taken.add(found)
        return found

    def __contains__(self, variable: Variable) -> bool:
        return variable in self._names

    def __getitem__(self, variable: Variable) -> str:
        if variable not in self._names:
            self.claim(variable, variable.name)
        return self._names[variable]


def graph_of(
    program: Program, name: str, opsets: dict[str, int], kept: dict[Variable, Parameter], names: Names
) -> Graph:
    """The program as a graph of leaves written for ``opsets``.

    ``kept`` maps the parameters and states of the program to what the graph shall have in their place. What ``names``
    has a name for already is not listed: it belongs to the graph around. Other names are the program's, unless taken.
    """
    graph = Graph(name)
    for key, variable in program.inputs.items():
        if variable not in names:
            own = names.claim(variable, key)
            graph.inputs[own] = Value(own, variable.dtype, variable.shape)
    for variable, parameter in kept.items():
        if variable not in names:
            own = names.claim(variable, parameter.name)
            graph.inputs[own] = Value(own, variable.dtype, variable.shape)
            graph.parameters[own] = parameter
    copies = _name_outputs(program, names)
    constants: dict[object, str] = {}
    paths = Names()
    for node in program.nodes:
        inputs = ["" if item is None else _read(item, graph, constants, names) for item in node.inputs]
        outputs = ["" if item is None else names[item] for item in node.outputs]
        path = paths.fresh("/".join(part for part in (node.layer.strip("/"), node.op_type) if part))
        version = opsets.setdefault(node.domain, node.version)
        graph.leaves.append(Leaf(node.op_type, inputs, outputs, node.attributes, node.domain, version, path=path))
    for output, variable in copies.items():
        source = _read(variable, graph, constants, names)
        leaf = Leaf("Identity", [source], [output], {}, "", opsets[""], path=paths.fresh(f"{output}/Identity"))
        graph.leaves.append(leaf)
    for key, variable in program.outputs.items():
        own = names.outputs[key]
        graph.outputs[own] = Value(own, variable.dtype, variable.shape)
    return graph


def _name_outputs(program: Program, names: Names) -> dict[str, Variable]:
    """Name the variables that are outputs; returns the outputs that need a copy under their name."""
    copies: dict[str, Variable] = {}
    for name, variable in program.outputs.items():
        if variable.producer is None or variable in names:
            names.outputs[name] = names.fresh(name)
            copies[names.outputs[name]] = variable
        else:
            names.outputs[name] = names.claim(variable, name)
    return copies


def _read(variable: Variable, graph: Graph, constants: dict[object, str], names: Names) -> str:
    """The name that stands for a variable; constants of equal content, and parameters, become initializers."""
    if variable.constant is None and variable.parameter is None:
        return names[variable]
    if variable in names:
        return names[variable]
    array = variable.parameter.array if variable.parameter is not None else np.asarray(variable.constant)
    content = id(array) if array.dtype == object or array.nbytes > 1024 else array.tobytes()
    key = (array.dtype, array.shape, content)
    if key not in constants:
        stem = variable.name.split(":")[0] if variable.name.startswith("constant:") else variable.name
        constants[key] = names.fresh(stem)
        graph.parameters[constants[key]] = Parameter(constants[key], array, requires_grad=False)
    return constants[key]
