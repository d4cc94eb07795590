"""No cell of our tables is run by a spreadsheet."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.artifacts.cells import csv_text

RUN = ("=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1")


@pytest.mark.parametrize("text", RUN)
def test_a_formula_is_shown_and_not_run(text):
    ((cell,),) = csv.reader(io.StringIO(csv_text([[text]]), newline=""))
    assert cell == f"'{text}"


@pytest.mark.parametrize("cell", ["", "cat", "a=b", "'tis", -1.5, 0, None])
def test_what_is_no_formula_stays_as_it_is(cell):
    ((found,),) = csv.reader(io.StringIO(csv_text([[cell]]), newline=""))
    assert found == ("" if cell is None else str(cell))


def test_a_carriage_return_begins_no_cell():
    assert csv_text([["\r=1"]]) == " =1\n"


@given(st.lists(st.sampled_from([*RUN, "'=1+1", "''=1+1", "cat", "'"]), unique=True))
def test_two_texts_stay_two(texts):
    rows = list(csv.reader(io.StringIO(csv_text([["x", *texts]]), newline="")))
    assert len(set(rows[0])) == len(texts) + 1
