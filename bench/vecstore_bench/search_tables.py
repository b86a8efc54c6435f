"""The results of a comparison of search systems as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vecstore_bench.measure import ratio

__all__ = ["BATCH", "SINGLE", "markdown", "put_section"]

#: How queries are asked: all in one call, or one a call.
BATCH, SINGLE = "batch", "single"
#: What vecstore's own configurations are compared with, beside the fastest of all others.
_BASELINE = "hnswlib"
_NOTHING = "-"

Row = Mapping[str, Any]


def markdown(about: Mapping[str, Any], results: Sequence[Row]) -> str:
    """Give the section of a data set.

    Parameters
    ----------
    about : mapping
        The configuration and the machine, as they are in ``search.json``.
    results : sequence of mapping
        One a system, mark, number of threads and way.
    """
    lines = [
        f"## {about['dataset']}: {about['rows']:,} x {about['dim']}, {about['metric']}",
        "",
        f"Machine: {about['machine']}; flags: {' '.join(about['cpu']['flags'])}; BLAS: "
        f"{', '.join(about['blas']['loaded']) or about['blas']['numpy']}"
        f"{''.join(f'; {name}={value}' for name, value in about['environment'].items())}.",
        "",
        *_sizes(results, about["missing"]),
    ]
    groups: dict[tuple[int, float], list[Row]] = {}
    for row in results:
        groups.setdefault((row["threads"], row["mark"]), []).append(row)
    for (threads, mark), rows in groups.items():
        lines += ["", f"### Recall@10 of {mark} or more, {_threads(threads)}", "", *_speeds(rows)]
    if about["filters"]:
        lines += ["", f"### Filters, {about['filters'][0]['system']}", "", *_filters(about["filters"])]
    return "\n".join(lines) + "\n"


def put_section(page: Path, name: str, text: str) -> None:
    """Put the section of a data set into a page between marks, in place of what was there; the rest stays."""
    begin, end = f"<!-- search {name}: begin -->", f"<!-- search {name}: end -->"
    section = f"{begin}\n{text}{end}\n"
    before = page.read_text(encoding="utf-8") if page.exists() else "# Search against other systems\n\n"
    marked = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}\n", re.DOTALL)
    # A function, because a replacement text would have its backslashes read.
    after = marked.sub(lambda _: section, before) if marked.search(before) else f"{before.rstrip()}\n\n{section}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(after, encoding="utf-8")


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _sizes(results: Sequence[Row], missing: Sequence[Mapping[str, str]]) -> list[str]:
    systems = {row["system"]: row for row in results}
    baseline = systems.get(_BASELINE)
    lines = _header("system", "version", "bytes a vector in memory", f"of {_BASELINE}", "on disk", "build, CPU s")
    for name, row in systems.items():
        memory = row["memory_bytes_per_vector"]
        share = f"{memory / baseline['memory_bytes_per_vector']:.2f}" if baseline else _NOTHING
        lines.append(
            f"| {name} | {row['version']} | {memory:,.0f} | {share} | {row['disk_bytes_per_vector']:,.0f} | "
            f"{row['build_cpu_seconds']:,.1f} |"
        )
    return [*lines, *(f"| {one['name']} | {one['status']}: {one['reason']} | | | | |" for one in missing)]


def _speeds(rows: Sequence[Row]) -> list[str]:
    """Give queries/s of each of vecstore's configurations as a multiple of every other system's."""
    done = [row for row in rows if row["status"] == "done"]
    seconds = {(row["system"], row["way"]): _seconds(row) for row in done}
    ours = [row for row in done if row["ours"] and row["way"] == BATCH]
    lines = _header("system", "setting", "recall", *(f"{row['system']}: all, one" for row in ours))
    for row in (row for row in done if row["way"] == BATCH):
        ratios = [_both(seconds, row["system"], own["system"]) for own in ours]
        lines.append(f"| {row['system']} | {_setting(row['setting'])} | {row['recall']:.3f} | {' | '.join(ratios)} |")
    fallen = [row for row in rows if row["status"] != "done" and row["way"] == BATCH]
    lines += [f"| {row['system']} | {row['status']} | {'| ' * len(ours)}|" for row in fallen]
    return [*lines, "", *_best(done, seconds)]


def _best(done: Sequence[Row], seconds: Mapping[tuple[str, str], list[float]]) -> list[str]:
    """Give vecstore's configurations against the baseline and against the fastest of all others, with their spread."""
    peers = [row["system"] for row in done if not row["ours"] and row["way"] == BATCH]
    if not peers:
        return []
    lines = _header("vecstore", "queries", f"queries/s to {_BASELINE}'s", "to the fastest other's", "which is")
    for own in (row["system"] for row in done if row["ours"] and row["way"] == BATCH):
        for way, words in ((BATCH, "all in one call"), (SINGLE, "one a call")):
            best = min(peers, key=lambda name, way=way: sorted(seconds[name, way])[len(seconds[name, way]) // 2])  # type: ignore[misc]
            mine = seconds[own, way]
            base = str(ratio(seconds[_BASELINE, way], mine)) if _BASELINE in peers else _NOTHING
            lines.append(f"| {own} | {words} | {base} | {ratio(seconds[best, way], mine)} | {best} |")
    return lines


def _both(seconds: Mapping[tuple[str, str], list[float]], other: str, own: str) -> str:
    if other == own:
        return _NOTHING
    return ", ".join(f"{ratio(seconds[other, way], seconds[own, way]).median:.2f}" for way in (BATCH, SINGLE))


def _seconds(row: Row) -> list[float]:
    return [value / row["queries"] for value in row["seconds"]]


def _setting(text: str) -> str:
    return ", ".join(f"{name} {value}" for name, value in json.loads(text).items()) or "none to choose"


def _filters(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    header = _header(
        "filter", "rows", "threads", "recall@10", "min(k, matching) rows", "time to unfiltered: all", "one"
    )
    return header + [
        f"| {line['filter']} | {line['share']:.2%} | {line['threads']} | {line['recall']:.4f} | "
        f"{'always' if line['complete'] else 'NOT ALWAYS'} | {_spread(line['batch'])} | {_spread(line['single'])} |"
        for line in lines
    ]


def _spread(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f} to {:.2f})".format(*values)


def _header(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
