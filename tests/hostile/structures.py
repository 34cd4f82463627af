"""Hostile structure: graphs, names, functions, nesting and versions that no valid model has."""

from __future__ import annotations

from pathlib import Path

from onnx import AttributeProto, FunctionProto, ModelProto, TensorProto, TypeProto, helper

from importers.onnx.wire import prefix
from tests.hostile.seeds import SEEDS, parsed
from tests.hostile.table import hostile

FLOAT = TensorProto.FLOAT


def plain(*nodes, functions=(), **initializers) -> ModelProto:
    """``y`` from ``x`` (N, 4) by nodes."""
    graph = helper.make_graph(
        list(nodes),
        "plain",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions))


def branch(name: str, *nodes):
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)]
    return helper.make_graph(list(nodes), name, [], outputs)


def function(name: str, calls: list[str], domain: str = "own", call_domain: str = "own") -> FunctionProto:
    """A function that passes its input through calls of others, one after another, and at last a Neg."""
    nodes = [helper.make_node(call, [f"v{at}"], [f"v{at + 1}"], domain=call_domain) for at, call in enumerate(calls)]
    nodes.append(helper.make_node("Neg", [f"v{len(calls)}"], ["out"]))
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_function(domain, name, ["v0"], ["out"], nodes, imports)


def calling(*functions: FunctionProto) -> bytes:
    return plain(helper.make_node("F0", ["x"], ["y"], domain="own"), functions=functions).SerializeToString()


def changed(seed: str, change) -> bytes:
    """A seed model after ``change(model)``."""
    model = SEEDS[seed]()
    change(model)
    return model.SerializeToString()


@hostile("Graph 'plain' has a cycle: each of Relu 'Relu_0', Neg 'Neg_1' waits for an output of another")
def cycle_of_two(folder: Path) -> bytes:
    return plain(
        helper.make_node("Relu", ["b"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Neg", ["x"], ["y"]),
    ).SerializeToString()


@hostile("has a cycle: each of Add 'Add_0' waits")
def node_that_reads_itself(folder: Path) -> bytes:
    return plain(helper.make_node("Add", ["x", "y"], ["y"])).SerializeToString()


@hostile("has a cycle: each of If 'If_0', Greater 'Greater_1' waits")
def cycle_through_a_body(folder: Path) -> bytes:
    inner = branch("b", helper.make_node("Neg", ["c"], ["n"]))
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Greater", ["x", "y"], ["c"]),
    ]
    return plain(*nodes).SerializeToString()


@hostile("Neg 'Neg_1' produces 'y', which is already an input, an initializer or the output of another node")
def two_producers(folder: Path) -> bytes:
    return plain(helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])).SerializeToString()


@hostile("Neg 'Neg_1' produces 'x', which is already an input")
def node_that_overwrites_an_input(folder: Path) -> bytes:
    return plain(helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["x"])).SerializeToString()


@hostile("Split 'Split_0' produces 'y', which is already")
def one_node_with_equal_outputs(folder: Path) -> bytes:
    return plain(helper.make_node("Split", ["x"], ["y", "y"], num_outputs=2)).SerializeToString()


@hostile("has the initializer 'w' twice; names must differ")
def initializer_twice(folder: Path) -> bytes:
    return changed("functions", lambda model: model.graph.initializer.append(model.graph.initializer[0]))


@hostile("lists the input 'x' twice; names must differ")
def input_twice(folder: Path) -> bytes:
    return changed("functions", lambda model: model.graph.input.append(model.graph.input[0]))


@hostile("has the attribute 'group' twice; each must be given once")
def attribute_twice(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        node = next(node for node in model.graph.node if len(node.attribute) > 1)
        node.attribute.extend([item for item in node.attribute if item.name == "group"])

    return changed("convolutions", change)


@hostile("defines function own::F0 twice")
def function_twice(folder: Path) -> bytes:
    return calling(function("F0", []), function("F0", []))


@hostile("reads 'nowhere', which is no input, initializer or output of another node")
def input_from_nowhere(folder: Path) -> bytes:
    return plain(helper.make_node("Add", ["x", "nowhere"], ["y"])).SerializeToString()


@hostile("has the output 'y', which no node, input or initializer provides")
def output_from_nowhere(folder: Path) -> bytes:
    return plain().SerializeToString()


@hostile("imports opset 999 of 'ai.onnx'; onnx .* knows 1 to")
def opset_999(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        model.opset_import[0].version = 999

    return changed("convolutions", change)


@hostile("imports opset -9223372036854775808 of 'ai.onnx'")
def opset_below_zero(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        model.opset_import[0].version = -(1 << 63)

    return changed("convolutions", change)


@hostile("has IR version 9223372036854775807; onnx .* reads 1 to")
def ir_version_of_the_far_future(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        model.ir_version = (1 << 63) - 1

    return changed("convolutions", change)


@hostile("function 'own::F0' calls itself, directly or through others")
def function_that_calls_itself(folder: Path) -> bytes:
    return calling(function("F0", ["F0"]))


@hostile("function 'own::F0' calls itself, directly or through others")
def functions_that_call_each_other(folder: Path) -> bytes:
    return calling(function("F0", ["F1"]), function("F1", ["F2"]), function("F2", ["F0"]))


@hostile("function 'own::F0' calls itself")
def function_that_calls_itself_in_a_body(folder: Path) -> bytes:
    recursive = function("F0", [])
    inner = branch("b", helper.make_node("F0", ["v0"], ["n"], domain="own"))
    node = helper.make_node("If", ["v0"], ["again"], then_branch=inner, else_branch=inner)
    recursive.node.insert(0, node)
    recursive.node[1].input[0] = "again"
    return calling(recursive)


@hostile("function 'Relu' calls itself")
def function_that_replaces_an_operator_by_itself(folder: Path) -> bytes:
    shadow = helper.make_function(
        "", "Relu", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 21)]
    )
    return plain(helper.make_node("Relu", ["x"], ["y"]), functions=[shadow]).SerializeToString()


@hostile("its functions expand to [0-9]+ nodes")
def twenty_two_functions_that_double(folder: Path) -> bytes:
    return calling(*(function(f"F{n}", [f"F{n + 1}"] * 2) for n in range(22)), function("F22", []))


@hostile("its functions expand to [0-9]+ nodes")
def functions_that_multiply_beyond_counting(folder: Path) -> bytes:
    return calling(*(function(f"F{n}", [f"F{n + 1}"] * 50) for n in range(60)), function("F60", []))


@hostile("nested deeper than 100 calls")
def functions_nested_150_deep(folder: Path) -> bytes:
    return calling(*(function(f"F{n}", [f"F{n + 1}"]) for n in range(150)), function("F150", []))


@hostile("nested deeper than 100 calls|calls itself")
def functions_nested_5000_deep(folder: Path) -> bytes:
    return calling(*(function(f"F{n}", [f"F{n + 1}"]) for n in range(5000)), function("F5000", []))


def nested_ifs(depth: int) -> bytes:
    """Bodies in bodies, as wire bytes: python's own protobuf would not build them."""
    graph = branch("inner", helper.make_node("Neg", ["x"], ["y"])).SerializeToString()
    for _ in range(depth):
        parts = [AttributeProto(name=f"{name}_branch", type=AttributeProto.GRAPH) for name in ("then", "else")]
        attributes = [
            part.SerializeToString() + prefix(6, len(graph)) + graph for part in parts[: 1 if depth > 12 else 2]
        ]
        node = b"".join(prefix(5, len(item)) + item for item in attributes)
        node = helper.make_node("If", ["c"], ["y"]).SerializeToString() + node
        shell = branch("shell", helper.make_node("Neg", ["x"], ["y"]))
        del shell.node[:]
        graph = shell.SerializeToString() + prefix(1, len(node)) + node
    shell = plain()
    del shell.graph.output[:]
    del shell.graph.input[:]
    opening = (
        helper.make_tensor_value_info("x", FLOAT, ["N", 4]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    )
    for info in opening:
        content = info.SerializeToString()
        graph = prefix(11, len(content)) + content + graph
    shell.ClearField("graph")
    return shell.SerializeToString() + prefix(7, len(graph)) + graph


@hostile("else_branch")
def ifs_nested_as_deep_as_protobuf_reads(folder: Path) -> bytes:
    return nested_ifs(30)


@hostile("is no ONNX model, or only a part of one")
def ifs_nested_deeper_than_protobuf_reads(folder: Path) -> bytes:
    return nested_ifs(33)


@hostile("is no ONNX model, or only a part of one")
def ifs_nested_5000_deep(folder: Path) -> bytes:
    return nested_ifs(5000)


@hostile(None)
def ifs_that_double_at_every_level(folder: Path) -> bytes:
    return nested_ifs(9)


@hostile("has a type nested deeper than 32 levels|is no ONNX model")
def sequences_of_sequences(folder: Path) -> bytes:
    kind = TypeProto()
    kind.tensor_type.elem_type = FLOAT
    for _ in range(45):
        kind = helper.make_sequence_type_proto(kind)

    def change(model: ModelProto) -> None:
        model.graph.input.add(name="deep").type.CopyFrom(kind)

    return changed("functions", change)


@hostile("Node 'Neg_0' names no operator|names no operator")
def node_without_operator(folder: Path) -> bytes:
    return plain(helper.make_node("", ["x"], ["y"])).SerializeToString()


@hostile("No backend can run 1 of the model's operators: evil.domain::Anything-1")
def operator_that_nobody_knows(folder: Path) -> bytes:
    return plain(helper.make_node("Anything", ["x"], ["y"], domain="evil.domain")).SerializeToString()


@hostile("has a name that is not UTF-8 text")
def names_that_are_no_text(folder: Path) -> bytes:
    return plain(helper.make_node("Relu", ["x"], ["name"])).SerializeToString().replace(b"name", b"\xff\xfe\xfd\xfc")


@hostile(None)
def names_a_megabyte_long(folder: Path) -> bytes:
    name = "n" * (1 << 20)
    nodes = [helper.make_node("Relu", ["x"], [name], name=name), helper.make_node("Neg", [name], ["y"])]
    return plain(*nodes).SerializeToString()


@hostile(None)
def scopes_ten_thousand_deep(folder: Path) -> bytes:
    return plain(helper.make_node("Relu", ["x"], ["y"], name="/".join("a" * 10000))).SerializeToString()


@hostile(None)
def a_chain_of_five_thousand_nodes_in_reverse(folder: Path) -> bytes:
    count = 5000
    nodes = [helper.make_node("Neg", [f"v{at}" if at else "x"], [f"v{at + 1}"]) for at in range(count)]
    nodes[-1].output[0] = "y"
    return plain(*nodes[::-1]).SerializeToString()


@hostile(None)
def one_output_listed_two_thousand_times(folder: Path) -> bytes:
    model = plain(helper.make_node("Neg", ["x"], ["y"]))
    model.graph.output.extend([model.graph.output[0]] * 2000)
    return model.SerializeToString()


@hostile("it takes 2 to 2 inputs, got 1")
def operator_with_an_input_missing(folder: Path) -> bytes:
    return plain(helper.make_node("Add", ["x"], ["y"])).SerializeToString()


@hostile("attribute 'axis' must be of type int, got float")
def attribute_of_another_type(folder: Path) -> bytes:
    return plain(helper.make_node("Concat", ["x", "x"], ["y"], axis=1.5)).SerializeToString()


@hostile("attribute 'else_branch' is required")
def if_without_else(folder: Path) -> bytes:
    inner = branch("b", helper.make_node("Neg", ["x"], ["n"]))
    nodes = [
        helper.make_node("Constant", [], ["c"], value_int=0),
        helper.make_node("If", ["c"], ["y"], then_branch=inner),
    ]
    return plain(*nodes).SerializeToString()


@hostile("If 'If_1'")
def if_on_nothing(folder: Path) -> bytes:
    inner = branch("b", helper.make_node("Neg", ["x"], ["n"]))
    empty = helper.make_node("Constant", [], ["c"])
    empty.attribute.add(name="value_ints", type=AttributeProto.INTS)
    return plain(empty, helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)).SerializeToString()


@hostile("refers to 'alpha' of a caller, but only nodes of functions have one")
def reference_outside_of_a_function(folder: Path) -> bytes:
    model = plain(helper.make_node("LeakyRelu", ["x"], ["y"]))
    model.graph.node[0].attribute.add(name="alpha", ref_attr_name="alpha", type=AttributeProto.FLOAT)
    return model.SerializeToString()


@hostile("Loop 'Loop_3'|Loop_3")
def loop_whose_body_takes_nothing(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        body = model.graph.node[3].attribute[0].g
        del body.input[:]
        del body.node[:]
        del body.output[1:]
        body.node.add(op_type="Constant", output=["on"]).attribute.add(name="value_int", i=1, type=AttributeProto.INT)

    return changed("control_flow", change)


@hostile("Scan 'Scan_0'|Scan_0")
def scan_with_a_negative_count(folder: Path) -> bytes:
    def change(model: ModelProto) -> None:
        next(item for item in model.graph.node[0].attribute if item.name == "num_scan_inputs").i = -(1 << 40)

    return changed("scan", change)


@hostile("holds no graph")
def nothing(folder: Path) -> bytes:
    return b""


@hostile(None)
def functions_in_functions(folder: Path) -> bytes:
    return parsed(
        """deep (float[N, 4] x) => (float[N, 4] y) { y = own.f (x) }
        <domain: "own", opset_import: ["": 21, "own": 1]> f (a) => (b) { c = own.g (a) b = own.g (c) }
        <domain: "own", opset_import: ["": 21]> g (a) => (b) { b = Neg (a) }"""
    ).SerializeToString()
