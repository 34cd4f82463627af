"""Which plan a session takes, how it does in parts what no engine does whole, and what it says when it cannot."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cuda.recorder import Recorder
from toolkit.backends.cuda.cublaslt import Epilogue, Matrix, Product
from toolkit.backends.cuda.cublaslt import session_of as products_of
from toolkit.backends.cuda.cudnn.builder import Builder
from toolkit.backends.cuda.cudnn.descriptors import NoEngineError
from toolkit.backends.cuda.cudnn.functions import Functions
from toolkit.backends.cuda.cudnn.graph import Graph
from toolkit.backends.cuda.cudnn.graph_constants import DataType, NumericalNote, PointwiseMode
from toolkit.backends.cuda.cudnn.session import Session, session_of
from toolkit.backends.cuda.images import FLOAT32
from toolkit.errors import BackendError

TF32, FAST = (NumericalNote.TENSOR_CORE,), ()


def product_and_relu(dtype: DataType = DataType.FLOAT) -> Graph:
    builder = Builder()
    a, b, y = (builder.tensor(dtype, (1, 8, 8)) for _ in range(3))
    middle = builder.matmul(a, b, builder.virtual((1, 8, 8), (64, 8, 1)))
    builder.pointwise(PointwiseMode.RELU_FWD, middle, into=y)
    return builder.graph()


def test_exact_float32_passes_over_tensor_cores() -> None:
    session = session_of(Recorder(notes=[TF32, FAST]).resources())
    assert session.plan(product_and_relu(), strict=True).engine == 1
    assert session.plan(product_and_relu(), strict=False).engine == 0


@pytest.mark.parametrize("dtype", [DataType.HALF, DataType.BFLOAT16])
def test_half_width_is_what_tensor_cores_are_for(dtype: DataType) -> None:
    session = session_of(Recorder(notes=[TF32, FAST]).resources())
    assert session.plan(product_and_relu(dtype), strict=True).engine == 0


def test_elementwise_engines_may_say_what_they_like() -> None:
    builder = Builder()
    x, y = (builder.tensor(DataType.FLOAT, (1, 8, 8)) for _ in range(2))
    builder.pointwise(PointwiseMode.RELU_FWD, x, into=y)
    session = session_of(Recorder(notes=[TF32]).resources())
    assert session.plan(builder.graph(), strict=True).notes == {NumericalNote.TENSOR_CORE}


def test_where_all_engines_are_inexact_there_is_none() -> None:
    session = session_of(Recorder(notes=[TF32]).resources())
    with pytest.raises(NoEngineError, match=r"no engine for matmul .* inexact float32"):
        session.plan(product_and_relu(), strict=True)


def test_plans_and_refusals_are_remembered() -> None:
    recorder = Recorder(notes=[TF32, FAST])
    session = session_of(recorder.resources())
    first = session.plan(product_and_relu(), strict=True)
    recorder.calls.clear()
    assert session.plan(product_and_relu(), strict=True) is first
    assert recorder.calls == []


@pytest.mark.parametrize(
    ("refuses", "kinds"),
    [
        (lambda kinds: False, [["OPERATION_MATMUL", "OPERATION_POINTWISE"]]),
        (lambda kinds: len(kinds) > 1, [["OPERATION_MATMUL"], ["OPERATION_POINTWISE"]]),
    ],
    ids=["whole", "in parts"],
)
def test_a_graph_without_an_engine_is_done_in_parts(
    refuses: Callable[[list[str]], bool], kinds: list[list[str]]
) -> None:
    session = session_of(Recorder(refuses).resources())
    plans = session.plans(product_and_relu())
    assert [[item.kind for item in plan.graph.operations] for plan in plans] == kinds
    if len(plans) == 2:
        written = plans[0].graph.written().values()
        read = plans[1].graph.tensors()
        assert [item.is_virtual for item in written] == [False]
        assert all(read[item.uid] == item for item in written)


def test_an_operation_without_an_engine_is_refused_with_the_reason() -> None:
    session = session_of(Recorder(lambda kinds: "OPERATION_MATMUL" in kinds).resources())
    with pytest.raises(NoEngineError, match=r"matmul .*as the test wishes"):
        session.plans(product_and_relu())


def test_images_are_shown_as_rows_to_elementwise_engines() -> None:
    builder = Builder()
    strides = (240, 1, 60, 20, 5)
    x, y = (builder.tensor(DataType.FLOAT, (2, 5, 4, 3, 4), strides) for _ in range(2))
    bias = builder.tensor(DataType.FLOAT, (1, 5, 1, 1, 1), (5, 1, 5, 5, 5))
    builder.pointwise(PointwiseMode.ADD, x, bias, into=y)
    rows = builder.graph().as_rows()
    assert rows is not None
    found = [(item.shape, item.strides) for item in rows.external()]
    assert found == [((1, 96, 5), (480, 5, 1)), ((1, 96, 5), (480, 5, 1)), ((1, 1, 5), (5, 5, 1))]
    assert product_and_relu().as_rows() is None


def test_what_broadcasts_along_places_stays_as_it_is() -> None:
    builder = Builder()
    x, y = (builder.tensor(DataType.FLOAT, (2, 5, 3, 4), (60, 1, 20, 5)) for _ in range(2))
    column = builder.tensor(DataType.FLOAT, (1, 1, 3, 1), (3, 1, 1, 1))
    builder.pointwise(PointwiseMode.ADD, x, column, into=y)
    assert builder.graph().as_rows() is None


def test_a_described_device_runs_nothing() -> None:
    session = Session.for_device(Functions(Recorder()), b"{}")
    plan = session.plan(product_and_relu())
    with pytest.raises(BackendError, match="only described cannot run"):
        session.bind(plan, {}, 0)


def test_another_major_version_is_refused() -> None:
    class Older(Recorder):
        def _get_version(self) -> int:
            return 8907

    with pytest.raises(BackendError, match="requires cuDNN 9, found version 8907"):
        Functions(Older())


def test_a_failing_call_names_itself_and_the_reason() -> None:
    class Failing(Recorder):
        ANSWERS = Recorder.ANSWERS | {"cudnnCreateTensorDescriptor": "_fail", "cublasLtMatmulDescCreate": "_fail"}

        def _fail(self, *arguments: int) -> int:
            return 2000

    resources = Failing().resources()
    with pytest.raises(BackendError, match="cudnnCreateTensorDescriptor failed: status 2000 as the test wishes"):
        session_of(resources).functions.CreateTensorDescriptor(0)
    with pytest.raises(BackendError, match="cublasLtMatmulDescCreate failed with status 2000"):
        products_of(resources).functions.MatmulDescCreate(0, 68, 0)


@pytest.mark.parametrize("functions", [session_of, products_of])
def test_functions_that_are_not_declared_are_named(functions: Callable[..., Session]) -> None:
    with pytest.raises(AttributeError, match="'Everything' is not among the functions"):
        functions(Recorder().resources()).functions.Everything()


def test_products_without_an_algorithm_are_refused() -> None:
    matrix = Matrix(FLOAT32, 4, 4, 4, 1)
    product = Product(matrix, matrix, matrix, epilogue=Epilogue.GELU)
    session = products_of(Recorder(algorithms=lambda epilogue: epilogue != Epilogue.GELU).resources())
    with pytest.raises(NoEngineError, match="no algorithm for Product"):
        session.multiplication(product)
