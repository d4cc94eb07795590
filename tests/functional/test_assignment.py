from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.assignment import assign


def test_exchange_by_hand():
    # each row alone wants column 0; 4 + 2 = 6 is less than 1 + 9 = 10
    assert assign(np.array([[1.0, 4.0], [2.0, 9.0]])).tolist() == [1, 0]


def test_chain_of_exchanges_by_hand():
    # diagonal 1 + 1 + 1 = 3 against the cheapest start: row 0 takes 0 (0), row 1 then
    # has 1 (0), row 2 only column 1 or 2: 0 + 0 + 9 = 9; 0->2: 2 + 0 + 0 = 2
    costs = np.array([[0.0, 9.0, 2.0], [9.0, 0.0, 9.0], [0.0, 0.0, 9.0]])
    assert assign(costs).tolist() == [2, 1, 0]


@given(
    st.integers(0, 4).flatmap(
        lambda rows: st.integers(max(rows, 1), 6).flatmap(
            lambda columns: arrays(
                np.float64, (rows, columns), elements=st.floats(-100, 100)
            )
        )
    )
)
def test_no_other_choice_costs_less(costs):
    rows, columns = costs.shape
    found = assign(costs)
    assert len(set(found.tolist())) == rows
    each = np.arange(rows)
    least = min(
        costs[each, list(chosen)].sum() for chosen in permutations(range(columns), rows)
    )
    assert costs[each, found].sum() == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_avoided(bad):
    assert assign(np.array([[bad, 5.0], [1.0, 2.0]])).tolist() == [1, 0]
    assert sorted(assign(np.full((2, 3), bad)).tolist()) != [0, 0]


def test_more_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="3 rows cannot have columns of 2"):
        assign(np.zeros((3, 2)))
