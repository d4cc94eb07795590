"""Settings of every test: one torch thread, so that jobs beside them do no harm."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

torch.set_num_threads(1)
REAL_DATA = "../shared/data"


@pytest.fixture(autouse=True)
def _same_chance_for_every_test():
    torch.manual_seed(0)
