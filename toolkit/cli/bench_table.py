"""What ``bench`` tells: the engines on one model in a table, and many models one a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.cli.bench_race import OWN, Rows, fastest_peer
from toolkit.cli.report import Report
from toolkit.files import write_text
from toolkit.report import Bar, Markup, bars, lines, page, paragraph, section, table


@dataclass(frozen=True)
class Result:
    """The race on one model with one batch size; ``error`` where the toolkit could not run it."""

    title: str
    model: str
    batch_size: int | None
    rows: Rows
    error: str = ""

    @property
    def peer(self) -> dict[str, Any] | None:
        """The figures of the fastest other engine."""
        name = fastest_peer(self.rows)
        return None if name is None else {"engine": name, **self.rows[name]}

    @property
    def reason(self) -> str:
        """Where the time goes, for what is slower than the fastest other engine."""
        peer = self.peer
        return self.rows[OWN]["where"] if peer is not None and peer["ratio"] > 1 else ""


def sized(batch_size: int | None) -> str:
    """A batch size in words."""
    return "fixed by the file" if batch_size is None else str(batch_size)


def tell_engines(report: Report, result: Result) -> None:
    """All engines on one model."""
    columns = ("ms", "min", "max", "items/s", "ours / it", "min", "max", "peak MiB", "first result s", "difference")
    cells = []
    for name, row in result.rows.items():
        if "error" in row:
            report.line(f"{name} failed: {row['error']}")
            continue
        gap = row["largest_difference"]
        cells.append(
            [name]
            + [f"{row[key]:.3f}" for key in ("median_ms", "minimum_ms", "maximum_ms")]
            + [f"{row['items_per_second']:,.0f}"]
            + [f"{row[key]:.3f}" for key in ("ratio", "ratio_minimum", "ratio_maximum")]
            + [f"{row['peak_mib']:,.0f}", f"{row['first_result_seconds']:.2f}", "" if gap is None else f"{gap:.1e}"]
        )
    report.line(f"batch size {sized(result.batch_size)}")
    report.table(("engine", *columns), cells, right=columns)
    if result.rows[OWN]["where"]:
        report.line(f"The toolkit's time: {result.rows[OWN]['where']}.")


FIGURES = ("batch", "ms", "min", "max", "items/s", "MiB")
PEER, RATIOS = ("its ms", "its MiB"), ("ours / it", "least", "most")
HEAD = ("model", *FIGURES, "fastest other", *PEER, *RATIOS, "why, where above 1")
RIGHT = (*FIGURES, *PEER, *RATIOS)


def tell_models(report: Report, results: Sequence[Result]) -> None:
    """Many models beside the fastest other engine."""
    report.table(HEAD, [_cells(result) for result in results], right=RIGHT)
    report.line(verdict(results))


def verdict(results: Sequence[Result]) -> str:
    """How the ratios lie, in one sentence."""
    ratios = [peer["ratio"] for result in results if (peer := result.peer) is not None]
    if not ratios:
        return f"{len(results)} rows; no other engine ran."
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    above = sum(ratio > 1 for ratio in ratios)
    return f"{len(ratios)} rows compared: geometric mean {mean:.3f}, {above} above 1, largest {max(ratios):.3f}."


def _cells(result: Result) -> list[str]:
    batch = "" if result.batch_size is None else str(result.batch_size)
    if result.error:
        return [result.title, batch, *[""] * (len(HEAD) - 3), result.error]
    own, peer = result.rows[OWN], result.peer
    cells = [result.title, batch, *(f"{own[key]:.4f}" for key in ("median_ms", "minimum_ms", "maximum_ms"))]
    cells += [f"{own['items_per_second']:,.0f}", f"{own['peak_mib']:,.0f}"]
    if peer is None:
        return [*cells, *[""] * (len(HEAD) - len(cells))]
    cells += [peer["engine"], f"{peer['median_ms']:.4f}", f"{peer['peak_mib']:,.0f}"]
    return [*cells, *(f"{peer[key]:.3f}" for key in ("ratio", "ratio_minimum", "ratio_maximum")), result.reason]


def write_page(path: Path, results: Sequence[Result]) -> None:
    """A page with the ratios as bars, the throughput over batch sizes as lines, and the whole table."""
    compared = [(peer["ratio"], result) for result in results if (peer := result.peer) is not None]
    ranked = sorted(compared, key=lambda pair: -pair[0])
    parts = [
        section(
            "Time as a part of the fastest other engine's",
            paragraph("Below 1 the toolkit is faster. Hovering shows where its time goes."),
            bars(
                [
                    Bar(_named(result), ratio, f"{ratio:.2f}", int(ratio > 1), result.rows[OWN]["where"])
                    for ratio, result in ranked
                ]
            ),
        )
    ]
    parts += _throughputs(results)
    parts.append(section("All figures", table(HEAD, [_cells(result) for result in results], right=RIGHT)))
    write_text(path, page("Models beside other engines", verdict(results), parts))


def _named(result: Result) -> str:
    return result.title if result.batch_size is None else f"{result.title}, batch {result.batch_size}"


def _throughputs(results: Sequence[Result]) -> list[Markup]:
    """A chart for each model that ran with several batch sizes."""
    by_title: dict[str, list[Result]] = {}
    for result in results:
        if not result.error and result.batch_size is not None:
            by_title.setdefault(result.title, []).append(result)
    charts = []
    for title, group in by_title.items():
        if len(group) < 2:
            continue
        group.sort(key=lambda result: result.batch_size or 0)
        series = {name: [result.rows[name].get("items_per_second") for result in group] for name in group[0].rows}
        sizes = [float(result.batch_size or 0) for result in group]
        charts.append(
            section(f"Throughput of {title}", lines(series, x=sizes, x_label="batch size", y_label="items/s"))
        )
    return charts
