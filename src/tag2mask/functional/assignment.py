"""Give every row a column of its own at the least total cost."""

import numpy as np
from jaxtyping import Float, Int64


def assign(costs: Float[np.ndarray, "rows columns"]) -> Int64[np.ndarray, "rows"]:
    """Return the column of each row, no column twice, that minimise the summed cost.

    Shortest augmenting paths (Kuhn, 1955; Jonker and Volgenant, Computing 1987): each
    row in turn takes the column to which the cheapest chain of exchanges leads. Among
    equal totals the choice depends on the order of rows and columns only.

    Args:
        costs: Finite, or +inf and NaN for what is to be avoided.

    Raises:
        ValueError: If there are more rows than columns.
    """
    num_rows, num_columns = costs.shape
    if num_rows > num_columns:
        raise ValueError(f"{num_rows} rows cannot have columns of {num_columns}")
    worst = np.finfo(np.float64).max / 4 / (num_columns + 1)
    table = np.nan_to_num(costs.astype(np.float64), nan=worst, posinf=worst)
    table = table.clip(-worst, worst)
    row_price = np.zeros(num_rows)
    column_price = np.zeros(num_columns)
    owner = np.full(num_columns, -1)
    for row in range(num_rows):
        _take_column(row, table, row_price, column_price, owner)
    columns = np.empty(num_rows, np.int64)
    taken = np.flatnonzero(owner >= 0)
    columns[owner[taken]] = taken
    return columns


def _take_column(
    first: int,
    table: Float[np.ndarray, "rows columns"],
    row_price: Float[np.ndarray, "rows"],
    column_price: Float[np.ndarray, "columns"],
    owner: Int64[np.ndarray, "columns"],
) -> None:
    """Find the cheapest chain from a row to a free column and pass columns along it."""
    distance = np.full(len(owner), np.inf)
    came_from = np.full(len(owner), -1)
    is_done = np.zeros(len(owner), np.bool_)
    row, column, reached = first, -1, 0.0
    while row >= 0:
        reduced = reached + table[row] - row_price[row] - column_price
        is_shorter = ~is_done & (reduced < distance)
        distance[is_shorter] = reduced[is_shorter]
        came_from[is_shorter] = column
        column = int(np.where(is_done, np.inf, distance).argmin())
        reached = float(distance[column])
        is_done[column] = True
        row = int(owner[column])
    before = is_done.copy()
    before[column] = False
    row_price[first] += reached
    row_price[owner[before]] += reached - distance[before]
    column_price[before] -= reached - distance[before]
    while column >= 0:
        previous = int(came_from[column])
        owner[column] = first if previous < 0 else owner[previous]
        column = previous
