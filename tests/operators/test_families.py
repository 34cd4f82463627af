"""Families that are imported when one of their operators is asked for: the list of these operators is right."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from toolkit.operators import REGISTRY, load_everything, lookup
from toolkit.operators.families import FAMILIES_OF_DOMAINS, RARE_FAMILIES

def known():
    return {(*key, record.since) for key, records in REGISTRY.items() for record in records}

for domain in FAMILIES_OF_DOMAINS:
    lookup(domain, "", 1)
for family, operators in RARE_FAMILIES.items():
    for operator in operators.split():
        domain, _, name = operator.rpartition("::")
        assert lookup(domain, name, 99) is not None, f"{family} does not register {operator}"
before = known()
load_everything()
assert known() == before, f"not listed with their families: {sorted(known() - before)}"
"""


def test_the_operators_of_rare_families_are_listed() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
