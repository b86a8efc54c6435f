"""Wrong arguments of ``training.embedding`` are refused before anything is planned, by name."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore import training
from vecstore.errors import InvalidArgumentError, NotFoundError

FIELDS = {"user": 50, "item": 30}
COUNTS = {"user": np.arange(50), "item": np.arange(30)}


def refused(field, match, name="hash", **options):
    given = {"fields": FIELDS, "dim": 8, "budget": 0.99, **options}
    with pytest.raises(InvalidArgumentError, match=match) as caught:
        training.embedding(name, **given)
    assert caught.value.field == field


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True, None, 2**64])
def test_seeds(seed):
    refused("seed", "seed", seed=seed)


@pytest.mark.parametrize("scale", [0, -0.1, float("nan"), float("inf"), "x", True])
def test_scales(scale):
    refused("scale", "scale", scale=scale)


@pytest.mark.parametrize("dim", [0, -3, 2.0, "8", True])
def test_dims(dim):
    refused("dim", "dim", dim=dim)


@pytest.mark.parametrize("fields", [{}, ["user"], None, {"user": 0}, {"user": 2.5}, {"user": True}, {3: 5}, {"": 5}])
def test_fields(fields):
    refused("fields", "fields", fields=fields)


@pytest.mark.parametrize(
    ("frequency", "match"),
    [
        ({"user": COUNTS["user"]}, "user, item, got user"),
        ({**COUNTS, "tag": np.arange(3)}, "user, item, tag"),
        ({**COUNTS, "item": np.arange(29)}, r"int64\[30\] for 'item', got int64\[29\]"),
        ({**COUNTS, "item": np.zeros((30, 1), np.int64)}, "item"),
        ({**COUNTS, "item": np.full(30, 0.5)}, "float64"),
        ({**COUNTS, "item": np.arange(30) - 1}, "id 0 of 'item' has a count of -1"),
        ([1, 2], "frequency"),
    ],
)
def test_frequencies(frequency, match):
    refused("frequency", match, name="adapt", frequency=frequency)


@pytest.mark.parametrize("name", ["hash", "dhe", "mgqe", "autodim", "unified", "full"])
def test_settings_that_a_scheme_lacks(name):
    refused("colour", "colour", name=name, colour="red")


def test_wrong_settings_names_and_budgets():
    refused("width", "width", name="dhe", width="wide")
    refused("hashes", "hashes", name="dhe", hashes=0)
    refused("scheme", "no trainable layer", name="float16")
    refused("budget", "budget", budget=1.5)
    with pytest.raises(NotFoundError, match="nosuch"):
        training.embedding("nosuch", fields=FIELDS, dim=8)


def test_numbers_of_numpy_are_numbers():
    layer = training.embedding(
        "adapt",
        fields={name: np.int64(size) for name, size in FIELDS.items()},
        dim=int(np.int32(8)),
        frequency={name: own.astype(np.int32) for name, own in COUNTS.items()},
        seed=np.uint8(3),
        scale=np.float32(0.1),
    )
    assert layer.plan.to_dict() == training.embedding("adapt", fields=FIELDS, dim=8, frequency=COUNTS).plan.to_dict()


@pytest.mark.parametrize("hashes", [16, 300, 1024])
def test_hashes_of_dhe_can_be_given(hashes):
    layer = training.embedding("dhe", fields={"user": 4000, "item": 3000}, dim=8, budget=0.5, hashes=hashes)
    assert [part.scheme["hashes"] for part in layer.plan.parts] == [hashes] * 2
    assert layer.freeze().nbytes <= 7000 * 8 * 2


def test_counts_that_come_later_are_checked_too():
    layer = training.embedding("adapt", fields=FIELDS, dim=8, budget=0.6)
    with pytest.raises(InvalidArgumentError, match="user, item, got user"):
        layer.observe({"user": COUNTS["user"]})
