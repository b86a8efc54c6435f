"""``fit_table`` over all registered schemes, and distillation over all layers."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

import vecstore
from vecstore import schemes
from vecstore.errors import BudgetInfeasible, InvalidArgumentError, NotFoundError, QualityWarning
from vecstore.fitting import POOR_ERROR, fit_table, plan_table
from vecstore.planning import stored_bytes
from vecstore.schemes.base import Fitting, TableShape
from vecstore.schemes.hash import Hash
from vecstore.training import distil as distilling
from vecstore.training import make_part
from vecstore.training.base import Stage, TrainablePart, Update
from vecstore.training.distil import distil

ROWS, DIM = 400, 16
TRAINED = [name for name in schemes.names() if schemes.get(name).capabilities.trained]
DISTILLED = [name for name in TRAINED if schemes.get(name).capabilities.fitting is Fitting.DISTILLED]
over_schemes = pytest.mark.parametrize("name", schemes.names())


def structured(rows: int = ROWS, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Rows of 12 clusters in 4 of ``dim`` dimensions, repeated after 128, and a little noise, float32[rows, dim]."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(12, 4))[np.resize(rng.integers(0, 12, 128), rows)]
    return ((centres @ rng.normal(size=(4, dim))) + 0.05 * rng.normal(size=(rows, dim))).astype(np.float32)


FIELDS = {"user": structured(), "item": structured(150, seed=1)}


def fitted(name: str, vectors, budget: float | int = 0.6, **settings):
    """Fit, or at the floor where the budget is below it; give the table, the report and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            table, report = fit_table(name, vectors, budget=budget, **settings)
        except BudgetInfeasible as error:
            table, report = fit_table(name, vectors, budget=error.floor, **settings)
    assert all(warning.category is QualityWarning for warning in caught)
    return table, report, caught


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(distilling, "EPOCHS", 40)


def errors_of(matrix: np.ndarray, table) -> tuple[float, float]:
    """Give relative error and mean cosine, from their definitions."""
    before, after = matrix.astype(np.float64), table.lookup(np.arange(len(matrix))).astype(np.float64)
    lengths = np.linalg.norm(before, axis=1) * np.maximum(np.linalg.norm(after, axis=1), 1e-300)
    return ((after - before) ** 2).sum() / (before**2).sum(), ((before * after).sum(1) / lengths).mean()


# fit_table


@over_schemes
def test_every_scheme_fits_a_matrix_and_reports_what_numpy_finds(name):
    matrix = structured()
    table, report, caught = fitted(name, matrix)
    capabilities = schemes.get(name).capabilities
    assert report.scheme == name
    assert report.fields == {"row": ROWS}
    assert report.fitting is capabilities.fitting
    assert report.bytes_reached == table.nbytes == sum(array.nbytes for array in table.arrays().values())
    assert 0 < report.bytes_reached <= min(report.bytes_asked, report.bytes_before)
    assert report.bytes_before == matrix.nbytes
    assert report.ratio == matrix.nbytes / table.nbytes
    error, cosine = errors_of(matrix, table)
    assert report.relative_error == pytest.approx(error, rel=1e-6, abs=1e-12)
    assert report.cosine == pytest.approx(cosine, rel=1e-6)
    assert report.seconds > 0
    assert bool(caught) == (not capabilities.posthoc or report.relative_error >= POOR_ERROR)
    if capabilities.exact:
        assert report.relative_error == 0


@over_schemes
def test_several_fields_with_counts_give_the_same_arrays_again(name):
    counts = {field: 1 + np.arange(len(matrix))[::-1] // 50 for field, matrix in FIELDS.items()}
    found = []
    for _ in range(2):
        np.random.seed(len(found))  # noqa: NPY002 - global randomness must not matter
        table, report, _ = fitted(name, FIELDS, frequency=counts, seed=5)
        found.append({key: array.tobytes() for key, array in table.arrays().items()})
    assert found[0] == found[1]
    assert report.fields == {"user": ROWS, "item": 150}
    assert table.field_names == ("user", "item")
    assert report.bytes_reached <= report.bytes_asked
    assert report.relative_error == pytest.approx(errors_of(np.concatenate(list(FIELDS.values())), table)[0], abs=1e-9)


def test_the_warning_says_how_poor_it_is_and_what_to_do():
    with pytest.warns(QualityWarning) as caught:
        _, report = fit_table("hash", structured(), budget=0.3)
    (message,) = [str(warning.message) for warning in caught]
    assert f"relative error {report.relative_error:.3g}, mean cosine {report.cosine:.3f}" in message
    assert "made to be trained" in message
    assert all(other in message.split("same bytes: ")[1] for other in ("autodim, ", "int8, ", "mde, "))
    assert caught[0].filename == __file__


def test_a_scheme_for_any_rows_warns_where_the_budget_leaves_little(rng):
    noise = rng.normal(size=(300, DIM)).astype(np.float32)
    with pytest.warns(QualityWarning, match="bytes are few for these rows"):
        _, report = fit_table("mde", noise, budget=0.3)
    assert report.relative_error >= POOR_ERROR
    # What stays float32 has nothing to warn of, whatever the scheme: a bucket and a salt are more than one row.
    _, report, caught = fitted("hash", noise[:1], 1.0)
    assert (report.kept_full, report.relative_error, caught) == (("row",), 0, [])


def test_the_report_in_a_line():
    _, report = fit_table("int8", {"a": structured(), "b": structured(9)}, budget=0.9)
    line = str(report)
    assert line.startswith("int8 (codec): 409 rows of 2 fields, ")
    assert "times smaller than float32), relative error " in line
    assert line.endswith(f"mean cosine {report.cosine:.4f}, {report.seconds:.1f} s")


def test_progress_goes_up_to_all_rows():
    for name in ("mde", "int8"):
        reports = []
        fitted(name, FIELDS, on_progress=lambda done, total: reports.append((done, total)))  # noqa: B023
        assert reports == sorted(reports)
        assert reports[-1] == (ROWS + 150, ROWS + 150)


def test_parameters_are_taken_and_unknown_ones_refused():
    table, _ = fit_table("mde", structured(), budget=0.9, parameters={"width": 5})
    assert table.parts[0].scheme.width == 5
    with pytest.raises(InvalidArgumentError, match="colour"):
        fit_table("mde", structured(), budget=0.9, parameters={"colour": "red"})


@pytest.mark.parametrize(
    ("vectors", "settings", "message"),
    [
        ({}, {}, "at least one field"),
        ({3: [[1.0]]}, {}, "names of fields"),
        ({"a": [[1.0]], "b": [[1.0, 2.0]]}, {}, "as many dimensions"),
        ({"a": np.empty((0, 3))}, {}, "'a': there are no rows"),
        ([[1.0, np.nan]], {}, "'row': .*NaN"),
        ([[1.0], [1.0, 2.0]], {}, "'row': expected numbers"),
        ([[1.0, 2.0]], {"frequency": [1, 2]}, r"int64\[1\] of at least 0"),
        ([[1.0, 2.0]], {"frequency": [-1]}, "at least 0"),
        ([[1.0, 2.0]], {"frequency": [0.5]}, "got float64"),
        ([[1.0, 2.0]], {"frequency": {"a": [1]}}, "counts of the fields row, got a"),
        ([[1.0, 2.0]], {"budget": 1.5}, "a fraction"),
        ([[1e30, 2.0]], {"scheme": "float16"}, "beyond"),
    ],
)
def test_wrong_input_is_explained_before_anything_is_done(vectors, settings, message):
    settings = {"budget": 1.0, "scheme": "full", **settings}
    for call in (plan_table, fit_table):
        with pytest.raises(InvalidArgumentError, match=message):
            call(vectors=vectors, **settings)


def test_schemes_and_budgets_that_there_are_not():
    with pytest.raises(NotFoundError, match="no scheme 'int9'"):
        fit_table("int9", structured(), budget=0.5)
    with pytest.raises(BudgetInfeasible) as caught:
        fit_table("int8", structured(), budget=0.1)
    table, report = fit_table("int8", structured(), budget=caught.value.floor)
    assert report.bytes_reached <= stored_bytes(table.scheme, DIM) == caught.value.floor


def test_without_torch_closed_forms_work_and_distillation_says_what_it_needs():
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "import numpy as np, vecstore\n"
        "rows = np.arange(640, dtype='f4').reshape(40, 16) % 7\n"
        "print(vecstore.fit_table('mde', rows, budget=0.9)[1].bytes_reached)\n"
        "try:\n    vecstore.fit_table('dhe', rows, budget=1.0, parameters={'hashes': 4})\n"
        "except vecstore.MissingDependencyError as error:\n    print(error)\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines[0].isdecimal()
    assert "scheme 'dhe' is fitted by training" in lines[1]
    assert "pip install 'vecstore[train]'" in lines[1]


def test_a_fitted_table_is_stored_and_served(tmp_path):
    table, _ = fit_table("mde", FIELDS, budget=0.6)
    with vecstore.open(tmp_path / "store") as database:
        stored = database.put_table("words", table)
        assert stored.fields == {"user": ROWS, "item": 150}
        np.testing.assert_array_equal(stored.lookup([7], field="item"), table.lookup_field("item", np.array([7])))


def test_autodim_gives_more_dimensions_to_the_field_that_needs_them(rng):
    rich = rng.normal(size=(300, DIM)).astype(np.float32)
    poor = (rng.normal(size=(300, 3)) @ rng.normal(size=(3, DIM)) + 5).astype(np.float32)
    budget = 0.5
    table, report, _ = fitted("autodim", {"poor": poor, "rich": rich}, budget)
    widths = [part.scheme.width for part in table.parts]
    # What the description takes of the budget would have been a twelfth.
    assert widths == [3, 11]
    planned = plan_table("autodim", {"poor": rich, "rich": rich}, budget=budget)
    alike = planned.fit(np.concatenate([poor, rich]))
    assert report.relative_error < 0.7 * errors_of(np.concatenate([poor, rich]), alike)[0]


def test_autodim_is_the_best_affine_approximation(rng):
    matrix = (structured() + 3 * rng.normal(size=DIM)).astype(np.float32)
    counts = rng.integers(1, 9, ROWS)
    table, _, _ = fitted("autodim", matrix, 0.5, frequency=counts)
    width = table.parts[0].scheme.width
    mean = np.average(matrix.astype(np.float64), axis=0, weights=counts)
    roots = np.sqrt(counts)[:, None]
    kept = np.linalg.svd((matrix - mean) * roots, full_matrices=False)[2][:width]
    best = (matrix - mean) @ kept.T @ kept + mean
    np.testing.assert_allclose(table.lookup(np.arange(ROWS)), best, atol=1e-4)


# Distillation


@pytest.mark.parametrize("name", TRAINED)
def test_every_layer_learns_a_matrix_through_its_stages(name, monkeypatch):
    monkeypatch.setattr(distilling, "EPOCHS", 30)
    matrix = structured(200)
    shape = TableShape(*matrix.shape)
    cls = schemes.get(name)
    try:
        scheme = cls.plan(shape, 0.6, None, cls.field_parameters)
    except BudgetInfeasible as error:
        scheme = cls.plan(shape, error.floor, None, cls.field_parameters)
    reports = []
    counts = 1 + np.arange(200) % 3
    table = distil(scheme, matrix, frequency=counts, seed=1, on_progress=lambda *report: reports.append(report))
    assert table.nbytes <= scheme.nbytes(shape)
    assert reports == sorted(reports)
    assert reports[-1] == (30 * 200, 30 * 200)
    untrained = make_part(scheme, shape, seed=1, scale=float(np.sqrt(3 * np.square(matrix).mean()))).freeze()
    assert errors_of(matrix, table)[0] < 0.9 * errors_of(matrix, untrained)[0]


@pytest.mark.parametrize("name", DISTILLED)
def test_what_is_distilled_beats_its_start_and_the_closed_form_clearly(name, monkeypatch):
    monkeypatch.setattr(distilling, "EPOCHS", 150)
    matrix = structured()
    shape = TableShape(*matrix.shape)
    scheme = schemes.get(name).plan(shape, 0.6)
    distilled = errors_of(matrix, distil(scheme, matrix))[0]
    untrained = make_part(scheme, shape, seed=0, scale=float(np.sqrt(3 * np.square(matrix).mean()))).freeze()
    assert distilled < 0.2 * errors_of(matrix, untrained)[0]
    assert distilled < 0.3 * errors_of(matrix, scheme.fit(matrix))[0]


@pytest.mark.parametrize("name", ["compo", "hash", "robe", "ttrec"])
def test_training_does_not_beat_what_is_computed_by_more_than_it_costs(name, monkeypatch):
    monkeypatch.setattr(distilling, "EPOCHS", 150)
    matrix = structured()
    scheme = schemes.get(name).plan(TableShape(*matrix.shape), 0.5)
    slack = 1.05 if name == "ttrec" else 1  # two truncations in turn are near the optimum, not at it
    assert errors_of(matrix, scheme.fit(matrix))[0] <= slack * errors_of(matrix, distil(scheme, matrix))[0]


def test_the_scale_of_the_matrix_does_not_matter():
    scheme = Hash(buckets=50)
    found = [errors_of(factor * structured(), distil(scheme, factor * structured()))[0] for factor in (1, 1000)]
    assert found[1] == pytest.approx(found[0], rel=0.02)


class Recording(TrainablePart):
    """A part of whole rows that writes down what it is asked for."""

    def __init__(self, shape: TableShape) -> None:
        import torch

        super().__init__(shape)
        self.rows = torch.nn.Parameter(torch.zeros(shape.rows, shape.dim))
        self.logit = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[np.ndarray]] = {"train": [], "search": []}
        self.steps: list[tuple[int, int]] = []
        self.begun: list[str] = []

    def forward(self, rows):
        self.seen[self.begun[-1]].append(rows.numpy().copy())
        return self.rows[rows] + self.logit

    def stages(self):
        updates = (Update("weights"), Update("search", split="valid", optimiser="sgd", rate=0.1))
        return (Stage("search", share=0.25, updates=updates, selects=False), Stage("train", share=0.75))

    def begin(self, stage):
        self.begun.append(stage)

    def after_step(self, step, steps):
        self.steps.append((step, steps))

    def search_parameters(self):
        return [self.logit]

    def freeze(self):
        return schemes.get("full")().fit(self.rows.detach().numpy())


@pytest.fixture
def part(monkeypatch):
    made = Recording(TableShape(100, 3))
    monkeypatch.setattr(distilling, "make_part", lambda *_, **__: made)
    return made


def test_stages_are_followed_and_searches_see_held_out_rows(part, rng):
    distil(Hash(buckets=1), rng.normal(size=(100, 3)))
    assert part.begun == ["search", "train"]
    batches = part.seen["search"]
    trained, held_out = np.concatenate(batches[::2]), np.concatenate(batches[1::2])
    assert set(trained) | set(held_out) == set(range(100))
    assert not set(trained) & set(held_out)
    assert len(set(held_out)) == 10
    assert set(np.concatenate(part.seen["train"])) == set(range(100))
    searched = [steps for steps in part.steps if steps[1] == part.steps[0][1]]
    assert searched == [(step, len(searched)) for step in range(1, len(searched) + 1)]


def test_it_ends_early_when_nothing_is_left_to_learn(part, monkeypatch):
    monkeypatch.setattr(distilling, "EPOCHS", 200)
    distil(Hash(buckets=1), np.zeros((100, 3)))
    searched = [steps for steps in part.steps if steps[1] == part.steps[0][1]]
    assert searched[-1][0] == searched[-1][1], "what leads up to another stage goes on to its end"
    made, planned = part.steps[-1]
    # One epoch to learn it; each of seven halvings waits for five that bring nothing.
    assert made * 150 == planned * (1 + 7 * 5)


def test_frequent_rows_are_drawn_more_often_and_others_too(part, rng):
    counts = np.zeros(100, np.int64)
    counts[:10] = 1000
    distil(Hash(buckets=1), rng.normal(size=(100, 3)), frequency=counts)
    drawn = np.bincount(np.concatenate(part.seen["train"]), minlength=100)
    assert drawn[:10].sum() > 50 * drawn[10:].sum() > 0


def test_no_rows_and_no_layer_are_refused():
    with pytest.raises(InvalidArgumentError, match="no rows"):
        distil(Hash(buckets=1), np.empty((0, 3), np.float32))
    with pytest.raises(InvalidArgumentError, match="no trainable layer"):
        distil(schemes.get("float16")(), np.ones((3, 3), np.float32))


# A scheme for each field


def test_fields_that_differ_get_schemes_that_differ():
    draws = np.random.default_rng(0)
    fields = {
        "narrow": (draws.normal(size=(900, 2)) @ draws.normal(size=(2, 16))).astype(np.float32),
        "still": np.repeat(draws.normal(size=(1, 16)), 900, axis=0).astype(np.float32),
        "wide": draws.normal(size=(900, 16)).astype(np.float32),
    }
    table, report = fit_table("auto", fields, budget=0.2)
    assert report.bytes_reached <= report.bytes_asked == int(0.2 * 2700 * 64)
    chosen = {own.field: own for own in report.choice.fields}
    assert [part.scheme["scheme"] for part in table.scheme.parts] == [own.scheme.name for own in chosen.values()]
    # Rows that are all alike cost next to nothing; those of full rank cost most.
    assert chosen["still"].bytes < chosen["narrow"].bytes < chosen["wide"].bytes
    # No scheme for all fields is as good at these bytes.
    for name in ("int8", "mde", "pq", "int4"):
        _, other, _ = fitted(name, fields, 0.2)
        assert report.relative_error < other.relative_error or other.bytes_reached > report.bytes_asked


def test_errors_of_the_choice_are_those_of_the_table():
    table, report = fit_table("auto", FIELDS, budget=0.3)
    for own in report.choice.fields:
        part, first, last = table.field(own.field)
        error, _ = errors_of(FIELDS[own.field], part)
        assert (first, last) == (0, len(FIELDS[own.field]))
        assert own.error == pytest.approx(error, rel=1e-6, abs=1e-9)


def test_a_choice_may_be_among_few():
    _, report = fit_table("auto", FIELDS, budget=0.5, parameters={"schemes": ["int8"]})
    assert {own.scheme.name for own in report.choice.fields} <= {"int8", "full"}
    with pytest.raises(InvalidArgumentError, match="unified cannot be measured"):
        fit_table("auto", FIELDS, budget=0.5, parameters={"schemes": ["unified"]})
    with pytest.raises(InvalidArgumentError, match="colour"):
        fit_table("auto", FIELDS, budget=0.5, parameters={"colour": "red"})
    with pytest.raises(BudgetInfeasible) as caught:
        fit_table("auto", FIELDS, budget=10)
    table, _, _ = fitted("auto", FIELDS, caught.value.floor)
    assert stored_bytes(table.scheme, DIM) <= caught.value.floor


def test_principal_axes_and_product_quantisation_make_a_table_together():
    table, report, caught = fitted(
        "transformed", FIELDS, 0.3, parameters={"transform": "centre|pca:4", "inner": {"scheme": "pq", "bits": 8}}
    )
    assert not caught
    assert report.relative_error < 0.1
    assert {part.scheme["inner"]["scheme"] for part in table.scheme.parts if part.scheme["scheme"] != "full"} == {"pq"}
