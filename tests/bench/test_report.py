"""What the report says of a run: means, losses, ties and advice, against an independent computation."""

from __future__ import annotations

import json
import math
import statistics

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.bench import runs
from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore_bench.report.across import across
from vecstore_bench.report.choosing import Rules, advise
from vecstore_bench.report.command import main, report
from vecstore_bench.report.comparing import Figure, compare, overlap
from vecstore_bench.report.field_choices import Chosen, Got, chosen_of
from vecstore_bench.report.labels import codec_of, is_composed
from vecstore_bench.report.measures import budget_text, bytes_text, first
from vecstore_bench.report.reading import read_run

USES = ["Smallest at < 0.5 % loss", "Least training memory", "Fastest look-up", "Extreme ratios, 50 times or more"]


def advice_of(folder, rules=Rules()):  # noqa: B008
    (comparison,) = compare(read_run([folder]))
    return comparison, {one.use: one for one in advise(comparison, rules)}


def mean_and_spread(values):
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def by_hand(cells):
    """Give scheme and budget -> bytes, seeds, (mean, spread) of loss, memory and look-up, computed anew."""
    full = {cell["seed"]: cell["test_auc"] for cell in cells if cell["scheme"] == "full"}
    found = {}
    for scheme, budget in {(cell["scheme"], cell["budget"]) for cell in cells} - {("full", 1.0)}:
        own = [cell for cell in cells if (cell["scheme"], cell["budget"]) == (scheme, budget)]
        own = [cell for cell in own if cell["status"] == "done"]
        if own:
            found[scheme, budget] = {
                "bytes": max(cell["stored_bytes"] for cell in own),
                "seeds": len(own),
                "loss": mean_and_spread([100 * (1 - cell["test_auc"] / full[cell["seed"]]) for cell in own]),
                "memory": mean_and_spread([cell["peak_bytes"] - cell["before_bytes"] for cell in own]),
                "lookup": mean_and_spread([cell["lookup_ns"] for cell in own]),
            }
    return found


def chosen(candidates, figure):
    """Give the lowest and all whose mean and spread touch its own, in order."""
    ranked = sorted(candidates, key=lambda name: candidates[name][figure][0])
    mean, spread = candidates[ranked[0]][figure]
    tied = [name for name in ranked[1:] if candidates[name][figure][0] - candidates[name][figure][1] <= mean + spread]
    return ranked[0], tied


def test_the_advice_is_what_an_independent_computation_gives(tmp_path):
    cells = runs.made_up()
    comparison, advice = advice_of(runs.write(tmp_path, cells))
    found = by_hand(cells)
    allowed = {name: one for name, one in found.items() if one["loss"][0] < 0.5}
    fewest = min(one["bytes"] for one in allowed.values())
    small = {name: one for name, one in allowed.items() if one["bytes"] <= 1.05 * fewest}
    extreme = {name: one for name, one in found.items() if runs.FULL_BYTES / one["bytes"] >= 50}
    expected = (chosen(small, "loss"), chosen(allowed, "memory"), chosen(allowed, "lookup"), chosen(extreme, "loss"))
    assert list(advice) == USES
    for use, (best, tied) in zip(USES, expected, strict=True):
        one = advice[use]
        assert (one.entry.scheme, one.entry.budget) == best, use
        assert [(tie.scheme, tie.budget) for tie in one.ties] == tied, use
        assert one.entry.loss.mean == pytest.approx(found[best]["loss"][0])
        assert one.entry.loss.spread == pytest.approx(found[best]["loss"][1])
        assert one.entry.bytes == found[best]["bytes"]
    # The made-up run has what the text must cope with.
    assert any(tied for _, tied in expected)
    assert {best[0] for best, _ in expected} >= {"int8", "unified"}
    (partly,) = [entry for entry in comparison.entries if (entry.scheme, entry.budget) == ("robe", 0.01)]
    assert partly.seeds == (0, 1)
    assert advice["Extreme ratios, 50 times or more"].notes == ("It loses 0.5 % or more here.",)


def test_the_printed_summary_and_the_page_say_the_same(tmp_path):
    folder = runs.write(tmp_path / "run", runs.made_up())
    _, advice = advice_of(folder)
    done = CliRunner().invoke(main, [str(folder), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for use, one in advice.items():
        assert f"{use}" in done.output
        name = f"{one.entry.scheme} at {budget_text(one.entry.budget)}"
        assert name in done.output
        card = page.split(f"<h3>{use.replace('<', '&lt;')}</h3>")[1].split("</article>")[0]
        assert f"</span>{one.entry.scheme} <small>at a budget of {budget_text(one.entry.budget)}</small>" in card
        assert f"Loses <strong>{one.entry.loss.mean:.2f} ± {one.entry.loss.spread:.2f} %</strong>" in card
        assert bytes_text(one.entry.bytes) in card
        for tie in one.ties[:4]:
            assert f"{tie.scheme} at {budget_text(tie.budget)} ({bytes_text(tie.bytes)}, " in card
    assert f"report: {tmp_path / 'out' / 'report.html'}" in done.output
    assert "5 scheme and budget infeasible, 1 cells failed" in done.output


def test_the_pareto_front_is_what_nothing_dominates(tmp_path):
    comparison, _ = advice_of(runs.write(tmp_path, runs.made_up()))
    points = [(entry.bytes, entry.figures["test_auc"].mean, entry) for entry in comparison.entries]
    expected = [
        entry
        for size, auc, entry in points
        if not any(other <= size and theirs >= auc and (other, theirs) != (size, auc) for other, theirs, _ in points)
    ]
    assert comparison.front() == sorted(expected, key=lambda entry: entry.bytes)
    assert len(expected) >= 3


def test_no_scheme_may_meet_a_rule(tmp_path):
    _, advice = advice_of(runs.write(tmp_path, runs.made_up()), Rules(loss=0.001, extreme=1000))
    smallest = advice["Smallest at < 0.001 % loss"]
    assert smallest.entry is not None
    assert smallest.entry.scheme == "alpt"
    extreme = advice["Extreme ratios, 1000 times or more"]
    assert extreme.entry is None
    assert "No table that ran is so small; the smallest is" in extreme.notes[0]
    worse = [{**cell, "test_auc": cell["test_auc"] - 0.02 * (cell["scheme"] != "full")}
             for cell in runs.made_up() if cell["status"] == "done"]  # fmt: skip
    _, advice = advice_of(runs.write(tmp_path, worse))
    assert [one.entry for one in advice.values()][:3] == [None] * 3
    (note,) = advice[USES[0]].notes
    assert note.startswith("No scheme meets it. The nearest is alpt, which loses 2.4")


def test_a_loss_that_reaches_over_the_limit_is_not_called_safe(tmp_path):
    aucs = {"full": (0.8, 0.8), "hash": (0.799, 0.794)}
    cells = [
        runs.cell("clicks", scheme, 1.0 if scheme == "full" else 0.5, seed, stored, auc, 1e6, 50.0)
        for scheme, stored in (("full", runs.FULL_BYTES), ("hash", runs.FULL_BYTES // 2))
        for seed, auc in enumerate(aucs[scheme])
    ]
    _, advice = advice_of(runs.write(tmp_path, cells))
    assert advice[USES[0]].entry.loss.mean == pytest.approx(0.4375)
    assert advice[USES[0]].notes == ("Over seeds the loss reaches 0.88 %, so 0.5 % is not safe.",)


def test_one_seed_is_called_one_seed(tmp_path):
    comparison, advice = advice_of(runs.write(tmp_path, [one for one in runs.made_up() if one["seed"] == 0]))
    assert all(entry.loss.spread is None for entry in comparison.entries)
    assert "One seed ran" in advice[USES[0]].notes[0]
    assert advice[USES[0]].ties == ()


def test_without_full_no_loss_is_known(tmp_path):
    folder = runs.write(tmp_path, [one for one in runs.made_up() if one["scheme"] != "full"])
    _, advice = advice_of(folder)
    for one in advice.values():
        assert one.entry is None
        assert "no quality of the scheme `full`" in one.notes[0]
    done = CliRunner().invoke(main, [str(folder)])
    assert done.exit_code == 0, done.output


def test_an_older_run_has_no_look_ups(tmp_path):
    gone = {"lookup_ns", "dataset", "model", "stored_bytes"}
    cells = [
        {name: value for name, value in one.items() if name not in gone} | {"reached_bytes": one.get("stored_bytes")}
        for one in runs.made_up()
    ]
    folder = runs.write(tmp_path, cells, data="/data/clicks.parquet", model="dlrm")
    comparison, advice = advice_of(folder)
    assert str(comparison.key) == "clicks.parquet, dlrm, 16 dimensions"
    assert advice["Fastest look-up"].entry is None
    assert "no column lookup_ns" in advice["Fastest look-up"].notes[0]
    assert advice[USES[0]].entry is not None
    done = CliRunner().invoke(main, [str(folder)])
    assert done.exit_code == 0, done.output
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<code>vecstore bench ctr</code> measures it" in page
    assert not list((folder / "plots").glob("*lookup*"))


def test_retrieval_runs_are_read_from_parquet(tmp_path):
    rows = [
        {"dataset": "docs", "scheme": scheme, "budget": budget, "seed": seed, "bytes": stored, "recall@10": recall,
         "ndcg@10": recall - 0.1, "queries_per_s": 900.0, "p50_ms": 1.1, "full_bytes": 4000}
        for scheme, budget, stored, recall in (("full", 1.0, 4000, 0.99), ("int8", 0.3, 1200, 0.97))
        for seed in (0, 1)
    ]  # fmt: skip
    path = tmp_path / "results.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    (comparison,) = compare(read_run([path]))
    assert comparison.quality.key == "ndcg@10"
    (int8,) = comparison.compressed
    assert int8.loss.mean == pytest.approx(100 * 0.02 / 0.89)
    assert int8.points.mean == pytest.approx(2)
    assert comparison.entries[0].figures["recall@10"] == Figure(0.99, 0.0, 2)
    done = CliRunner().invoke(main, [str(path)])
    assert done.exit_code == 0, done.output
    assert sorted(file.name for file in (tmp_path / "plots").glob("*.svg")) == [
        "1-docs-p50-ms.svg", "1-docs-quality.svg", "1-docs-queries-per-s.svg"
    ]  # fmt: skip


def test_rows_without_quality_still_have_a_table(tmp_path):
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.Table.from_pylist([{"scheme": "int8", "bytes": 10, "lookup_ns": 3.0}]), path)
    done = CliRunner().invoke(main, [str(path)])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No cell has a column of quality" in page
    assert "unnamed data" in page


@pytest.mark.parametrize("kept", [{"failed"}, {"infeasible"}, {"full"}, {"hash"}])
def test_a_run_may_have_hardly_anything(tmp_path, kept):
    folder = runs.write(tmp_path, [one for one in runs.made_up() if kept & {one["scheme"], one["status"]}])
    done = CliRunner().invoke(main, [str(folder)])
    assert done.exit_code == 0, done.output
    assert (folder / "report.html").read_text(encoding="utf-8").count("No recommendation") == len(USES)


def test_many_budgets_in_bytes_have_a_panel_each(tmp_path):
    cells = [
        runs.cell("clicks", "hash", 10_000.0 * number, 0, 9_900 * number, 0.7, 1e6, 50.0) for number in range(1, 7)
    ]
    folder = runs.write(tmp_path, cells)
    done = CliRunner().invoke(main, [str(folder)])
    assert done.exit_code == 0, done.output
    drawn = (folder / "plots" / "1-clicks-dcn-16-dimensions-train-memory.svg").read_text(encoding="utf-8")
    assert [f"budget {number}0 kB" in drawn for number in range(1, 8)] == [True] * 6 + [False]


def test_a_line_that_a_crash_cut_off_and_earlier_tries_do_not_count(tmp_path):
    cells = [one for one in runs.made_up() if one["scheme"] in ("full", "hash")]
    tried = {**cells[1], "status": "failed", "error": "no luck"}
    folder = runs.write(tmp_path, [tried, *cells])
    with (folder / "cells.jsonl").open("a") as file:
        file.write('{"scheme": "ha')
    run = read_run([folder])
    assert len(run.cells) == len(cells)
    assert {cell.status for cell in run.cells} == {"done"}


def test_two_folders_of_one_experiment_are_one_comparison(tmp_path):
    cells = runs.made_up()
    parts = [
        runs.write(tmp_path / "a", [one for one in cells if one["seed"] != 1], folder="/here"),
        runs.write(tmp_path / "b", [one for one in cells if one["seed"] == 1], folder="/there"),
    ]
    (together,) = compare(read_run(parts))
    (whole,) = compare(read_run([runs.write(tmp_path / "c", cells)]))
    assert {(one.scheme, one.budget, one.seeds) for one in together.entries} == {
        (one.scheme, one.budget, one.seeds) for one in whole.entries
    }
    other = runs.write(tmp_path / "d", cells, settings={"epochs": 1})
    with pytest.raises(InvalidArgumentError, match="other settings"):
        read_run([parts[0], other])


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("nothing", None, NotFoundError, "expected the folder of a run"),
        ("cells.jsonl", b"", NotFoundError, "no cell has been run yet"),
        ("cells.jsonl", b"{]\n", FormatError, "not JSON"),
        ("cells.jsonl", b'{"budget": 1}\n', FormatError, "the column 'scheme'"),
        ("results.parquet", b"PAR1", FormatError, "not a parquet file"),
    ],
)
def test_what_is_no_run_is_refused_before_anything_is_written(tmp_path, name, content, error, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = CliRunner().invoke(main, [str(tmp_path)])
    assert isinstance(done.exception, error)
    assert says in str(done.exception)
    assert not (tmp_path / "report.html").exists()
    assert not (tmp_path / "plots").exists()


def test_figures_overlap_where_mean_and_spread_touch():
    assert overlap(Figure(1.0, 0.25, 3), Figure(1.5, 0.25, 3))
    assert overlap(Figure(1.5, 0.25, 3), Figure(1.0, 0.25, 3))
    assert not overlap(Figure(1.0, 0.2, 3), Figure(1.5, 0.25, 3))
    assert not overlap(Figure(1.0, None, 1), Figure(1.5, 0.25, 3))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345, "12.3 kB"), (999_600, "1 MB"), (2.5e12, "2.5 TB")],
)
def test_bytes_have_units(value, text):
    assert bytes_text(value) == text


@pytest.mark.parametrize(("budget", "text"), [(1.0, "100 %"), (0.5, "50 %"), (0.001, "0.1 %"), (64000.0, "64 kB")])
def test_budgets_are_shares_or_bytes(budget, text):
    assert budget_text(budget) == text


def test_the_first_column_with_a_number_counts():
    assert first("a", "b")({"a": None, "b": 2}) == 2.0
    assert first("a", "b")({"a": math.nan, "b": 3}) == 3.0
    assert first("a")({"a": True}) is None
    assert first("a")({"a": json.loads("1e999")}) is None


def test_models_are_set_side_by_side(tmp_path):
    cells = runs.made_up()
    # With the other model all schemes lose twice as much, so they have the same ranks.
    level = {one["seed"]: one["test_auc"] for one in cells if one["scheme"] == "full"}
    for one in runs.made_up():
        if "test_auc" in one:
            one["test_auc"] = level[one["seed"]] - 2 * (level[one["seed"]] - one["test_auc"])
        cells.append({**one, "model": "wdl"})
    folder = runs.write(tmp_path / "run", cells)
    sections, file = report([folder], folder, Rules())
    (table,) = across([section.comparison for section in sections])
    assert table.models == ("dcn", "wdl")
    assert table.agreement == pytest.approx(1)
    for _, (one, other) in table.rows:
        assert other.loss.mean == pytest.approx(2 * one.loss.mean)
    means = [one.loss.mean for _, (one, _) in table.rows]
    assert means == sorted(means)
    assert "Models side by side" in file.read_text()


def test_one_model_has_nothing_beside_it(tmp_path):
    folder = runs.write(tmp_path / "run", runs.made_up())
    sections, file = report([folder], folder, Rules())
    assert across([section.comparison for section in sections]) == []
    assert "Models side by side" not in file.read_text()


def test_what_each_field_got_is_said(tmp_path):
    folder = runs.write(tmp_path / "run", [*runs.made_up(), *runs.auto_cells()])
    done = CliRunner().invoke(main, [str(folder)])
    assert done.exit_code == 0, done.output
    (comparison,) = compare(read_run([folder]))
    assert (comparison.choices.budgets, comparison.choices.seeds) == ((0.1, 0.01), (3, 3))
    user, awkward = comparison.choices.rows
    assert user == ("user", ((Got("mde+alpt", 3, 5_000_002),), (Got("hash", 2, 500_000), Got("robe", 1, 400_000))))
    assert awkward == ("<b>page</b>: a; [red]b", ((Got("int8", 3, 900_000),), (Got("int8", 3, 90_000),)))
    printed = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines()]
    assert ["user", "mde+alpt 5 MB", "hash 500 kB (2 of 3 seeds), robe 400 kB (1 of 3 seeds)"] in printed
    assert ["<b>page</b>: a; [red]b", "int8 900 kB", "int8 90 kB"] in printed
    page = (folder / "report.html").read_text(encoding="utf-8")
    rows = page.split('id="choices-1"')[1].split("</table>")[0]
    assert "<b>" not in rows
    assert '<th scope="row">&lt;b&gt;page&lt;/b&gt;: a; [red]b</th>' in rows
    assert "</span>robe 400 kB (1 of 3 seeds)</span>" in rows
    # Where nothing chooses, nothing is said.
    _, file = report([runs.write(tmp_path / "other", runs.made_up())], tmp_path / "other", Rules())
    assert "choices-1" not in file.read_text(encoding="utf-8")


def test_runs_without_the_bytes_of_fields_say_their_schemes(tmp_path):
    cells = [{name: value for name, value in cell.items() if name != "parts"} for cell in runs.auto_cells()]
    plain = [{**cell, "fields": "user: int8; odd: name: hash"} for cell in cells]
    (comparison,) = compare(read_run([runs.write(tmp_path, plain)]))
    assert comparison.choices.rows == (
        ("user", ((Got("int8", 3, None),), (Got("int8", 3, None),))),
        ("odd: name", ((Got("hash", 3, None),), (Got("hash", 3, None),))),
    )
    assert not comparison.choices.sized
    # Where all fields have the same scheme, older runs do not say which fields there are.
    (comparison,) = compare(read_run([runs.write(tmp_path, [{**cell, "fields": "int8"} for cell in cells])]))
    assert comparison.choices is None
    whole = {"scheme": "auto", "parts": [{"fields": ["a", "b"], "scheme": "unified", "bytes": 9}, "damaged", {}]}
    assert chosen_of(whole) == (Chosen("a", "unified", None), Chosen("b", "unified", None))
    assert chosen_of({**whole, "scheme": "hash"}) == ()


@pytest.mark.parametrize(
    ("name", "codec"),
    [("int8", "int8"), ("pca:8|int8", "int8"), ("pca:8|pq/int8", "pq"), ("adapt+int8", "adapt+int8"),
     ("pca+pq", "pca+pq"), ("centre|pca+pq/int8", "pca+pq"), ("dedup/int8", "dedup"), ("elsewhere/int8", "elsewhere")],
)  # fmt: skip
def test_hybrids_are_schemes_and_no_codec_with_a_finer_copy(name, codec):
    assert codec_of(name) == codec
    assert is_composed(name) == (name != codec)


def test_hybrids_have_families_and_cards_of_their_own(tmp_path):
    cells = [runs.cell("clicks", "full", 1.0, 0, runs.FULL_BYTES, 0.78, 1e8, 45.0),
             runs.cell("clicks", "pca+pq", 0.1, 0, 6_000_000, 0.77, 1e8, 45.0)]  # fmt: skip
    _, file = report([runs.write(tmp_path, cells)], tmp_path, Rules())
    card = file.read_text(encoding="utf-8").split('id="method-pca+pq">')[1].split("</article>")[0]
    assert "Not in this run" not in card
    assert "At a budget of 10 %: loss 1.28 %." in card
    assert 'data-scheme="pca+pq"' in file.read_text(encoding="utf-8")
