"""Click data that is small enough to train on in a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vecstore_bench.click_rows import ClickData, Rows
from vecstore_bench.synthetic import SyntheticClicks


@pytest.fixture
def one_thread():
    """Keep torch to one thread, so that sums have one order and workers share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def clicks() -> ClickData:
    """Give planted clicks of three fields."""
    sizes = {"user": 200, "item": 90, "hour": 7}
    planted = SyntheticClicks(sizes=sizes, rows=5000, dense=2, effect=1.0, shares=(0.6, 0.2, 0.2), exponent=0.5)
    splits = {}
    for split in ("train", "valid", "test"):
        rows = planted.all(split)
        splits[split] = Rows(rows.ids.astype(np.int32), rows.dense, rows.labels)
    return ClickData("planted", sizes, splits)
