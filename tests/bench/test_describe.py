"""What data say: figures against data whose answers are known, and words that follow from them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.bench import runs
from vecstore_bench.click_rows import ClickData, Rows
from vecstore_bench.describe import main
from vecstore_bench.describing import (
    DESCRIPTION,
    as_document,
    describe_clicks,
    describe_matrix,
    field_figures,
    matrix_figures,
    zipf_exponent,
)
from vecstore_bench.report.choosing import Rules
from vecstore_bench.report.command import report


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.05, 1.8])
def test_the_exponent_is_that_of_the_law(exponent):
    counts = np.rint(1e9 / np.arange(1, 3001) ** exponent).astype(np.int64)
    assert zipf_exponent(np.random.default_rng(0).permutation(counts)) == pytest.approx(exponent, abs=0.01)


def test_the_exponent_of_hardly_any_ids_is_none():
    assert zipf_exponent(np.array([5])) == 0.0
    assert zipf_exponent(np.array([], np.int64)) == 0.0


def data_of(train, test):
    """Give click data of one field."""

    def rows(ids):
        own = np.asarray(ids, np.int32)[:, None]
        return Rows(own, np.empty((len(own), 0), np.float32), np.zeros(len(own), np.float32))

    return ClickData(
        "made", {"user": int(max(train)) + 1}, {"train": rows(train), "valid": rows(test), "test": rows(test)}
    )


def test_figures_of_a_field_are_counted():
    # Ids 1 and 2 take 95 of 100 look-ups, 3 to 7 occur once.
    (found,) = field_figures(data_of([1] * 60 + [2] * 35 + [3, 4, 5, 6, 7], [1, 1, 0, 7]))
    assert (found.field, found.ids) == ("user", 7)
    assert found.cover == pytest.approx(2 / 7)
    assert found.rare == pytest.approx(5 / 7)
    assert found.unseen == pytest.approx(1 / 4)


def test_skewed_and_even_data_are_told_apart():
    skewed = np.repeat(np.arange(1, 201), np.maximum(3000 // np.arange(1, 201) ** 2, 1))
    (few,) = describe_clicks(field_figures(data_of(skewed, [1, 2])), 16)[1:2]
    assert "take 90 % of the look-ups. Schemes that give frequent ids more" in few
    assert "`adapt`" in few
    even = np.tile(np.arange(1, 201), 5)
    said = describe_clicks(field_figures(data_of(even, [1, 2])), 16)
    assert "look-ups are spread" in said[1]
    assert not any("at most once" in sentence for sentence in said)
    once = describe_clicks(field_figures(data_of(np.arange(1, 201), [1, 2])), 16)
    assert any("100% of their ids occur at most once" in sentence for sentence in once)


def test_spectrum_and_duplicates_of_rows():
    draws = np.random.default_rng(0)
    flat = draws.normal(size=(500, 8)) @ draws.normal(size=(8, 32))
    found = matrix_figures(flat.astype(np.float32))
    assert found.width_90 <= found.width_99 <= 8
    assert found.duplicates < 0.1
    assert "rows of fewer numbers lose next to nothing" in describe_matrix(found)[1]
    full = draws.normal(size=(500, 32)).astype(np.float32)
    twice = matrix_figures(np.concatenate([full, full]))
    assert twice.duplicates == 1.0
    assert twice.width_99 > 28
    said = describe_matrix(twice)
    assert "bits can" in said[1]
    assert "100% of the rows have another one" in said[2]


def test_the_command_prints_what_it_finds(tmp_path):
    found = CliRunner().invoke(main, ["synthetic:3000"])
    assert found.exit_code == 0, found.output
    assert "category" in found.output
    assert "- 5 fields have" in found.output
    np.save(tmp_path / "rows.npy", np.eye(8, dtype=np.float32))
    found = CliRunner().invoke(main, [str(tmp_path / "rows.npy")])
    assert found.exit_code == 0, found.output
    assert "8 rows of 8 numbers" in found.output


def test_a_report_shows_what_its_run_found_of_the_data(tmp_path, clicks):
    folder = runs.write(tmp_path / "run", runs.made_up())
    assert "Fields of the data" not in report([folder], folder, Rules())[1].read_text()
    figures = field_figures(clicks)
    (folder / DESCRIPTION).write_text(json.dumps(as_document(figures, describe_clicks(figures, 16))))
    page = report([folder], folder, Rules())[1].read_text()
    assert "Fields of the data" in page
    assert f"{figures[0].zipf:.2f}" in page
    assert "3 fields have" in page
