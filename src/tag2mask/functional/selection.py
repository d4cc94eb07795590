"""Which voters take part in a vote."""

import numpy as np
from jaxtyping import Float64


def find_solely_best(scores: Float64[np.ndarray, "v k"]) -> tuple[int, ...]:
    """Return the voters that alone have the best score of at least one class.

    A class whose best score two voters share chooses neither (multi-seed, table 4: it
    gives the paper's six of eight). Nothing is returned if no voter stands out so.

    Args:
        scores: Of each voter and class, the higher the better; nan is no score.

    Returns:
        Places of the voters, ascending.

    Raises:
        ValueError: If there is no voter.
    """
    if not len(scores):
        raise ValueError("expected at least one voter, got none")
    known = np.where(np.isnan(scores), -np.inf, scores)
    best = known.max(axis=0)
    is_best = (known == best) & (best > -np.inf)
    alone = is_best & (is_best.sum(axis=0) == 1)
    return tuple(np.flatnonzero(alone.any(axis=1)).tolist())
