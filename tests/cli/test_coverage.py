"""The table of operators is what the command generates, and nothing is missing from it."""

from __future__ import annotations

import json

from tests.cli.conftest import Cli
from toolkit.cli.coverage import TABLE, coverage, markdown

ROWS = list(coverage())


def test_table_is_up_to_date() -> None:
    assert TABLE.read_text(encoding="utf-8") == markdown(ROWS), "run: onnx-toolkit coverage --write"


def test_every_version_runs_and_has_a_gradient_or_a_reason() -> None:
    for row in ROWS:
        assert row.versions and not row.missing, f"{row.domain}::{row.operator}"
        assert row.gradient.startswith(("yes", "none: ")), f"{row.domain}::{row.operator}"


def test_command_lists_every_operator(cli: Cli) -> None:
    outcome = cli("coverage", "--json")
    listed = {row["operator"] for row in json.loads(outcome.out)["operators"]}
    assert {"Relu", "LSTM", "TreeEnsemble"} <= listed
    assert "LSTM" in cli("coverage").out
