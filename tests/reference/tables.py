"""Twins of tables that hold others, and the twin of any scheme by its name."""

from __future__ import annotations

import itertools

import numpy as np

from tests.reference.codecs import binary_rows, coded_rows, int4_rows, opq_rows, pq_rows, rabitq_estimates, rabitq_rows
from tests.reference.learned import (
    adapt_rows,
    compo_rows,
    dedup_rows,
    dhe_rows,
    hash_rows,
    mgqe_rows,
    optembed_rows,
    projected_rows,
    robe_rows,
    sparse_rows,
    ttrec_rows,
    unified_rows,
)
from tests.reference.numbers import bits_of, distances, rotated_back


def fields_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of several fields, each decoded by the twin of its part."""
    sizes = iter(field["size"] for field in config["fields"])
    ends = np.cumsum([sum(itertools.islice(sizes, part["fields"])) for part in config["parts"]])
    found = np.empty((len(rows), dim), np.float32)
    for line, row in enumerate(rows):
        number = int(np.flatnonzero(row < ends)[0])
        own = {name.removeprefix(f"{number}."): a for name, a in arrays.items() if name.startswith(f"{number}.")}
        first = ends[number - 1] if number else 0
        found[line] = rows_of(config["parts"][number]["scheme"], own, np.array([row - first]), dim)[0]
    return found


def tiered_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of magpq and magsvd: the chain of bitmaps says which tier has a row, and where."""
    name, key = {"magpq": ("pq", "parts"), "magsvd": ("mde", "width")}[config["scheme"]]
    found = np.empty((len(rows), dim), np.float32)
    for line, row in enumerate(rows):
        place, tier = int(row), 0
        while f"map.{tier}.words" in arrays:
            bits = bits_of(arrays[f"map.{tier}.words"])
            before = int(bits[:place].sum())
            if bits[place]:
                place = before
                break
            place, tier = place - before, tier + 1
        own = {each.removeprefix(f"{tier}."): a for each, a in arrays.items() if each.startswith(f"{tier}.")}
        settings = {"bits": 4, **config.get("inner", {}), "scheme": name, key: config["tiers"][tier]["size"]}
        found[line] = rows_of(settings, own, np.array([place]), dim)[0]
    return found


def composed_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of hybrids: what the codec makes of the stored rows, read as the layout reads them."""
    outer, own = config["outer"], {name: a for name, a in arrays.items() if not name.startswith("codec.")}
    codec = {name[6:]: a for name, a in arrays.items() if name.startswith("codec.")}
    every = np.arange(len(codec["codes"]))
    stored = rows_of(config["codec"], codec, every, codec["codes"].shape[1])
    if outer["scheme"] == "dedup":
        own["blocks"] = stored.reshape(outer["blocks"], outer["block_rows"], dim)
    else:
        own["rows"] = stored
    return rows_of(outer, own, rows, dim)


def transformed_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of the scheme transformed: those of the codec, and then the chain backwards."""
    steps = [step.partition(":") for step in config["transform"].split("|")]
    widths = list(
        itertools.accumulate(steps, lambda w, s: int(s[2]) if s[0] in ("pca", "truncate") else w, initial=dim)
    )
    found = rows_of(config["inner"], {k[6:]: a for k, a in arrays.items() if k.startswith("inner.")}, rows, widths[-1])
    for number in range(len(steps) - 1, -1, -1):
        if steps[number][0] == "centre":
            found = found + arrays[f"{number}.mean"]
        elif steps[number][0] == "pca":
            found = projected_rows({"rows": found, "projection": arrays[f"{number}.matrix"]}, np.arange(len(rows)))
        elif steps[number][0] == "rotate":
            found = rotated_back(found, arrays[f"{number}.salt"][0])
        elif steps[number][0] == "truncate":
            found = np.concatenate([found, np.zeros((len(rows), widths[number] - widths[number + 1]), np.float32)], 1)
    return found


def pca_pq_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme pca+pq: those of pq along the axes, times the axes, added in order."""
    codec = {name[6:]: a for name, a in arrays.items() if name.startswith("codec.")}
    own = {name: a for name, a in arrays.items() if not name.startswith("codec.")}
    own["rows"] = pq_rows(config["codec"], codec, rows, config["outer"]["width"])
    return projected_rows(own, np.arange(len(rows)))


#: Schemes whose distances are estimates better than those to the decoded rows: (config, arrays, queries, metric, dim).
ESTIMATES = {"rabitq": rabitq_estimates}


def table_distances(config, arrays, rows, queries, metric):
    """Distances float64[q, n] that a table of those decoded rows float32[n, d] gives."""
    estimate = ESTIMATES.get(config["scheme"])
    if estimate is None:
        return distances(rows, queries, metric)
    return estimate(config, arrays, queries, metric, rows.shape[1])


#: Scheme -> decoder(config, arrays, rows, dim), each written from the table in docs/file-format.md.
DECODERS = {
    **dict.fromkeys(("adapt+int8", "dedup+int8", "mde+alpt"), composed_rows),
    "adapt": lambda config, arrays, rows, dim: adapt_rows(config, arrays, rows),
    "alpt": lambda config, arrays, rows, dim: coded_rows(arrays, rows),
    "autodim": lambda config, arrays, rows, dim: projected_rows(arrays, rows),
    "autosrh": sparse_rows,
    "compo": lambda config, arrays, rows, dim: compo_rows(config, arrays, rows),
    "dedup": lambda config, arrays, rows, dim: dedup_rows(config, arrays, rows),
    "deeplight": sparse_rows,
    "dhe": lambda config, arrays, rows, dim: dhe_rows(config, arrays, rows),
    "fields": fields_rows,
    "float16": lambda config, arrays, rows, dim: arrays["rows"][rows].view(np.float16).astype(np.float32),
    "full": lambda config, arrays, rows, dim: arrays["rows"][rows],
    "hash": lambda config, arrays, rows, dim: hash_rows(config, arrays, rows),
    "int16": lambda config, arrays, rows, dim: coded_rows(arrays, rows),
    "int8": lambda config, arrays, rows, dim: coded_rows(arrays, rows),
    **dict.fromkeys(("magpq", "magsvd"), tiered_rows),
    "mde": lambda config, arrays, rows, dim: projected_rows(arrays, rows),
    "mgqe": lambda config, arrays, rows, dim: mgqe_rows(config, arrays, rows),
    "optembed": optembed_rows,
    "binary": binary_rows,
    "int4": int4_rows,
    "opq": opq_rows,
    "pca+pq": pca_pq_rows,
    "pq": pq_rows,
    "rabitq": rabitq_rows,
    "robe": robe_rows,
    "transformed": transformed_rows,
    "ttrec": lambda config, arrays, rows, dim: ttrec_rows(config, arrays, rows),
    "unified": lambda config, arrays, rows, dim: unified_rows(config, arrays, rows),
}


def rows_of(config, arrays, rows, dim):
    """Rows float32[n, dim] of any scheme, from its config and arrays."""
    if config["scheme"] not in DECODERS:
        raise NotImplementedError(f"scheme {config['scheme']!r} has no twin in tests/reference; write one")
    return DECODERS[config["scheme"]](config, arrays, rows, dim)
