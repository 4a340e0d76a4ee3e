"""The table of cases can fail: no row is right of itself."""

import pytest

from tests.cases.doors import Outcome
from tests.cases.right import done
from tests.cases.table import rows

ROWS = list(rows())
WRONG = {
    "nothing came": Outcome(),
    "a traceback": Outcome(crashed=True, message="TypeError", status=1),
    "an error of another kind": Outcome(reason="INTERNAL", message="an unforeseen error", status=1),
    "objects out of nothing": Outcome(objects=7, warnings=("values_clipped",), diameter=11.5, status=2, seconds=500),
}


def test_every_case_has_rows():
    assert {row.case for row in ROWS} >= {*range(1, 24), 38, 39}


@pytest.mark.parametrize("what", WRONG)
def test_no_row_takes_a_wrong_outcome(what):
    taken = [(row.case, row.what, row.door) for row in ROWS if row.right.holds(WRONG[what])]
    answered = WRONG[what].objects is not None
    assert taken == [(row.case, row.what, row.door) for row in ROWS if answered and row.right == done()]
