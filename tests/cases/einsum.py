"""Cases of ``toolkit.operators.standard.einsum``."""

from tests.support.case import Case, Given, integers, uniform


def case(equation: str, *operands: Given, note: str = "", judge: str | None = None) -> Case:
    """An Einsum; the equation is its note unless another is given."""
    name = note or equation.replace(" ", "").replace("...", "_")
    return Case("Einsum", operands, {"equation": equation}, version=12, tolerance=2e-5, note=name, judge=judge)


CASES = [
    case("ij->ji", uniform("N", 3)),
    case("ij", uniform("N", 3)),
    case("ba", uniform("N", 3)),
    case("ij->", uniform("N", 3)),
    case("ij->i", uniform("N", 3)),
    case("ij,jk->ik", uniform("N", 3), uniform(3, 4)),
    case("ij , jk", uniform("N", 3), uniform(3, 4), note="implicit"),
    case("bij,bjk->bik", uniform("N", 2, 3), uniform("N", 3, 4)),
    case("bhqd,bhkd->bhqk", uniform("N", 2, 3, 4), uniform("N", 2, 5, 4)),
    case("i,i->", uniform(4), uniform(4)),
    case("i,j->ij", uniform("N"), uniform(4)),
    case("ij,ij->ij", uniform("N", 3), uniform("N", 3)),
    case("ij,kl->i", uniform("N", 3), uniform(2, 2)),
    case("ij,jk,kl->il", uniform("N", 3), uniform(3, 4), uniform(4, 2)),
    case("ij,kl,jk->il", uniform("N", 3), uniform(4, 2), uniform(3, 4)),
    case("bij,kbj,k->ib", uniform("N", 3, 4), uniform(2, "N", 4), uniform(2)),
    case("ii->i", uniform(4, 4)),
    case("ii->", uniform(4, 4)),
    case("ii", uniform(4, 4), note="trace"),
    case("bii->bi", uniform("N", 3, 3)),
    case("iij,j->i", uniform(3, 3, 2), uniform(2)),
    case("iji,jk->k", uniform(3, 2, 3), uniform(2, 4)),
    case("...ii->...i", uniform("N", 3, 3)),
    case("...ij,jk->...ik", uniform("N", 2, 3, 4), uniform(4, 2)),
    case("...ij,...jk->...ik", uniform("N", 1, 3, 4), uniform("N", 5, 4, 2), note="broadcast ellipsis"),
    case("...ij,...jk", uniform("N", 3, 4), uniform("N", 4, 2), note="implicit ellipsis"),
    case("i...->...", uniform("N", 3, 4)),
    case("aB,Bc->ca", uniform("N", 3), uniform(3, 2)),
    case("ij,ij->i", uniform("N", 1), uniform("N", 4), note="stretched axis"),
    case(
        "ij,jk->ik",
        integers("N", 3, low=-5, high=5, dtype="int32"),
        integers(3, 2, low=-5, high=5, dtype="int32"),
        note="integers",
    ),
    case("ij->j", uniform("N", 3, dtype="float16"), note="half", judge="onnx.reference"),
]
