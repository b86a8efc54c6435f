"""``mgqe``: learned product quantisation with more centroids for frequent rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import reference
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.schemes.base import TableShape
from vecstore.schemes.mgqe import Mgqe
from vecstore.schemes.ranked_bitmap import bitmap_nbytes
from vecstore.schemes.tiered_kmeans import tiered_centroids
from vecstore.training.mgqe import MgqePart
from vecstore.types import Metric

SHAPE = TableShape(rows=50, dim=6)
COUNTS = np.arange(50) * 37 % 50
HOT = COUNTS >= 30
BATCH = torch.tensor([3, 17, 3, 49, 0, 22, 8, 31])


def make(parts=3, hot_share=0.4, scale=0.5):
    part = MgqePart(Mgqe(parts=parts, hot_share=hot_share), SHAPE, seed=3, scale=scale)
    part.observe(COUNTS)
    return part


def responses(part, rows):
    """Minus squared distances float64[B, M, 256], from the formula."""
    weights = part.rows.detach().numpy().astype(np.float64)[rows].reshape(len(rows), 3, 1, 2)
    return -((weights - part.codebook.detach().numpy().astype(np.float64)) ** 2).sum(-1)


def winners(normalised, rows):
    """The best centroid of each part; of rows that are not hot, among the first 64."""
    allowed = np.where(HOT[rows][:, None, None] | (np.arange(256) < 64), normalised, -np.inf)
    return allowed.argmax(-1)


def rows_of(part, codes):
    codebook = part.codebook.detach().numpy()
    return np.concatenate([codebook[m, codes[:, m]] for m in range(3)], axis=1)


def test_a_training_step_is_that_of_the_formula():
    part = make()
    out = part(BATCH)
    rows = BATCH.numpy()
    given = responses(part, rows)
    normalised = (given - given.mean(0)) / np.sqrt(given.var(0) + 1e-5 * 0.5**4)
    codes = winners(normalised, rows)
    assert (codes != winners(given, rows)).any(), "the normalisation changes who wins"
    assert codes[HOT[rows]].max() >= 64
    centroids = rows_of(part, codes)
    assert out.detach().numpy().tobytes() == centroids.tobytes()
    weights = part.rows.detach().numpy()[rows]
    assert part.extra_loss().item() == pytest.approx(((centroids - weights) ** 2).mean(), rel=1e-5)

    slopes = torch.arange(48.0).view(8, 6)
    (out * slopes).sum().backward()
    straight = np.zeros((50, 6), np.float32)
    np.add.at(straight, rows, slopes.numpy())
    np.testing.assert_allclose(part.rows.grad.numpy(), straight)
    assert part.codebook.grad is None
    part.rows.grad = None
    part.extra_loss().backward()
    expected = np.zeros((3, 256, 2))
    difference = 2 * (centroids - weights).reshape(8, 3, 2) / 48
    for line in range(8):
        for m in range(3):
            expected[m, codes[line, m]] += difference[line, m]
    np.testing.assert_allclose(part.codebook.grad.numpy(), expected, rtol=1e-4, atol=1e-9)
    assert part.rows.grad is None, "nothing draws rows to their centroids"


def test_statistics_run_from_the_first_batch_on():
    part = make()
    batches = [torch.arange(start, start + 9) for start in (0, 9, 27)]
    given = [responses(part, batch.numpy()) for batch in batches]
    mean, variance = np.zeros((3, 256)), np.ones((3, 256))
    for number, values in enumerate(given, 1):
        part(batches[number - 1])
        share = max(0.1, 1 / number)
        mean, variance = mean + share * (values.mean(0) - mean), variance + share * (values.var(0) - variance)
    np.testing.assert_allclose(part.mean.numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(part.variance.numpy(), variance, rtol=1e-4, atol=1e-7)
    part(torch.tensor([4]))
    assert part.batches == 3, "one row has no statistics"


def test_frozen_rows_have_the_codes_of_the_running_statistics_whether_seen_or_not():
    part = make()
    for start in (0, 5):
        part(torch.arange(start, start + 20))
    part.eval()
    rows = np.arange(50)
    scale = 1 / np.sqrt(part.variance.numpy().astype(np.float64) + 1e-5 * 0.5**4)
    codes = winners((responses(part, rows) - part.mean.numpy()) * scale, rows)
    shown = part(torch.arange(50)).detach().numpy()
    table = part.freeze()
    assert shown.tobytes() == rows_of(part, codes).tobytes()
    assert table.lookup(rows).tobytes() == shown.tobytes()
    config, arrays = table.scheme.to_dict(), table.arrays()
    np.testing.assert_array_equal(reference.mgqe_codes(config, arrays, rows), codes)
    assert reference.mgqe_rows(config, arrays, rows).tobytes() == shown.tobytes()
    assert table.scheme.open(SHAPE, arrays).lookup(rows).tobytes() == shown.tobytes()
    assert part.extra_loss() == 0


def test_codes_follow_the_weights_once_training_went_on():
    part = make()
    part.eval()
    before = part.freeze().lookup(np.arange(50))
    part.train()
    part(BATCH)
    with torch.no_grad():
        part.rows.neg_()
    part.eval()
    after = part(torch.arange(50)).detach().numpy()
    assert (after != before).any(axis=1).sum() > 40
    assert part.freeze().lookup(np.arange(50)).tobytes() == after.tobytes()


def test_state_holds_all_that_the_codes_follow_from():
    part = make()
    part(BATCH)
    other = MgqePart(part.scheme, SHAPE, seed=9, scale=0.5)
    other.load_state_dict(part.state_dict())
    assert other.freeze().lookup(np.arange(50)).tobytes() == part.freeze().lookup(np.arange(50)).tobytes()
    with torch.no_grad():
        part.rows.neg_()
    other.load_state_dict(part.state_dict())
    fresh = MgqePart(part.scheme, SHAPE, seed=9, scale=0.5)
    fresh.load_state_dict(part.state_dict())
    shown = other.eval()(torch.arange(50)).detach().numpy()
    assert shown.tobytes() == fresh.freeze().lookup(np.arange(50)).tobytes(), "codes of before are forgotten"


def test_normalisation_does_not_depend_on_the_scale_of_the_weights():
    usual, small = make(), make(scale=0.5 * 2.0**-10)
    for part in (usual, small):
        part(BATCH)
    np.testing.assert_array_equal(usual.freeze().arrays()["hot"], small.freeze().arrays()["hot"])


def test_bytes_are_codebook_codes_and_bitmap():
    shape = TableShape(rows=10_000, dim=16)
    for parts, expected in ((8, 0.097), (4, 0.049), (2, 0.024)):
        nbytes = Mgqe(parts=parts).nbytes(shape)
        assert nbytes == 16_384 + 1000 * parts + -(-9000 * parts * 6 // 8) + bitmap_nbytes(10_000)
        assert (nbytes - 16_384 - bitmap_nbytes(10_000)) / shape.float32_bytes == pytest.approx(expected, abs=1e-3)


def test_plans_take_the_most_parts_that_divide_the_dimensions():
    shape, counts = TableShape(rows=10_000, dim=12), np.ones(10_000, np.int64)
    floor = Mgqe(parts=1).nbytes(shape)
    assert Mgqe.plan(shape, floor, counts).nbytes(shape) == floor
    with pytest.raises(BudgetInfeasible) as caught:
        Mgqe.plan(shape, floor - 1, counts)
    assert caught.value.floor == floor
    chosen = [Mgqe.plan(shape, budget, counts).parts for budget in range(floor, 120_000, 500)]
    assert chosen == sorted(chosen)
    assert set(chosen) == {1, 2, 3, 4, 6, 12}
    assert Mgqe.plan(shape, 0.5, counts).hot_share == 0.1
    assert Mgqe.plan(shape, 0.5).hot_share == 1, "without frequencies no row is known to be rare"
    assert Mgqe.plan(shape, 0.5, parameters={"parts": 3}).parts == 3
    with pytest.raises(InvalidArgumentError, match="divide"):
        Mgqe.plan(shape, 0.5, parameters={"parts": 5})


def test_without_frequencies_the_longest_rows_are_hot(rng):
    """Tiers of a collection: no ids are frequent there, but errors of long rows move the most inner products."""
    matrix = rng.normal(size=(500, 8)).astype(np.float32) * rng.lognormal(0, 1, 500)[:, None].astype(np.float32)
    lengths = np.linalg.norm(matrix, axis=1)
    table = Mgqe(parts=4, hot_share=0.3).fit(matrix, seed=2)
    hot = reference.bits_of(table.arrays()["words"])[:500]
    assert lengths[hot].min() >= lengths[~hot].max()
    in_order = Mgqe(parts=4, hot_share=0.3).fit(matrix, frequency=np.arange(500)[::-1].copy(), seed=2)
    lost = [np.square(t.lookup(np.arange(500)) - matrix).sum() for t in (table, in_order)]
    assert lost[0] < 0.8 * lost[1]


@pytest.mark.parametrize("hot_share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("parts", [1, 3, 4, 12])
def test_fitted_tables_decode_and_score_by_their_codes(rng, parts, hot_share):
    matrix = reference.clustered(rng, 400, 12)
    counts = rng.integers(0, 50, 400)
    table = Mgqe(parts=parts, hot_share=hot_share).fit(matrix, frequency=counts, seed=2)
    rows = np.arange(400)
    config, arrays = table.scheme.to_dict(), table.arrays()
    assert table.lookup(rows).tobytes() == reference.mgqe_rows(config, arrays, rows).tobytes()
    assert table.nbytes == table.scheme.nbytes(table.shape) == sum(array.nbytes for array in arrays.values())
    codes, codebook = reference.mgqe_codes(config, arrays, rows), arrays["codebook"]
    hot = reference.bits_of(arrays["words"])[:400]
    assert hot.sum() == int(hot_share * 400)
    for part in range(parts):
        own = matrix[:, part * 12 // parts : (part + 1) * 12 // parts].astype(np.float64)
        distances = ((own[:, None] - codebook[part]) ** 2).sum(-1)
        distances[~hot, 64:] = np.inf
        chosen = np.take_along_axis(distances, codes[:, part : part + 1], 1)[:, 0]
        np.testing.assert_allclose(chosen, distances.min(1), atol=1e-5)
    queries = reference.clustered(rng, 4, 12)
    for metric in Metric:
        found = np.empty((4, 400), np.float32)
        table.scorer(queries, metric).scan(0, 400, found)
        np.testing.assert_allclose(
            found, reference.distances(table.lookup(rows), queries, metric), rtol=1e-5, atol=1e-4
        )


def test_few_vectors_are_kept_exactly(rng):
    few = rng.standard_normal((64, 4)).astype(np.float32)
    matrix = few[rng.integers(0, 64, 300)]
    for hot_share in (0.0, 0.1, 1.0):
        table = Mgqe(parts=1, hot_share=hot_share).fit(matrix, seed=1)
        np.testing.assert_allclose(table.lookup(np.arange(300)), matrix, rtol=1e-6)


def test_hot_vectors_are_served_better_and_cold_ones_by_the_prefix(rng):
    vectors = rng.standard_normal((3000, 4)).astype(np.float32)
    hot, cold = vectors[:1000], vectors[1000:]
    centroids = tiered_centroids(hot, cold, 256, 64, np.random.default_rng(1)).astype(np.float64)
    every = ((vectors[:, None].astype(np.float64) - centroids) ** 2).sum(-1)
    hot_error, cold_error = every[:1000].min(1).mean(), every[1000:, :64].min(1).mean()
    assert hot_error < 0.6 * cold_error
    drawn = ((cold[:, None].astype(np.float64) - cold[:64]) ** 2).sum(-1).min(1).mean()
    assert cold_error < 0.8 * drawn, "better than centroids that are drawn from the rows"


def test_wrong_settings_are_refused(rng):
    for settings in ({"parts": 0}, {"parts": 1, "hot_share": 1.5}):
        with pytest.raises(InvalidArgumentError, match="mgqe"):
            Mgqe(**settings)
    matrix = rng.standard_normal((20, 6)).astype(np.float32)
    with pytest.raises(InvalidArgumentError, match="divide"):
        Mgqe(parts=4).fit(matrix)
    with pytest.raises(InvalidArgumentError, match="mgqe"):
        Mgqe(parts=3).fit(matrix).encode(matrix)
