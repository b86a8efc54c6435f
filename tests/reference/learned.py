"""Twins of the learned schemes: rows of their arrays."""

from __future__ import annotations

import itertools

import numpy as np

from tests.reference.numbers import bits_of, bucket, mixed, unit_hashes


def projected_rows(arrays, rows):
    """Rows float32[n, d] of the schemes mde and autodim: the bias, and then the products in order, in float32."""
    if "projection" not in arrays:
        return arrays["rows"][rows]
    total = arrays["bias"] if "bias" in arrays else np.zeros(arrays["projection"].shape[1], np.float32)
    for factors, line in zip(arrays["rows"][rows].T, arrays["projection"], strict=True):
        total = total + factors[:, None] * line
    return total


def compo_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme compo, from its config and arrays."""
    quotient, remainder = (
        arrays["quotient"][rows // config["remainders"]],
        arrays["remainder"][rows % config["remainders"]],
    )
    return quotient * remainder if config["aggregate"] == "product" else quotient + remainder


def ttrec_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme ttrec: both ranks are summed in order in float32, the last two cores first."""
    (n1, n2, _), rank = config["row_factors"], config["rank"]
    first = arrays["first"][rows % n1]  # [n, a, r]
    middle = arrays["middle"][rows // n1 % n2]  # [n, r, b, s]
    last = arrays["last"][rows // (n1 * n2)]  # [n, s, c]
    tails = np.zeros((len(rows), rank, middle.shape[2], last.shape[2]), np.float32)
    for s in range(rank):
        tails = tails + middle[:, :, :, s, None] * last[:, None, None, s, :]
    chains = np.zeros((len(rows), first.shape[1], *tails.shape[2:]), np.float32)
    for r in range(rank):
        chains = chains + first[:, :, r, None, None] * tails[:, None, r]
    return chains.reshape(len(rows), -1)


def robe_places(config, arrays, rows, dim):
    """Where the scheme robe reads each number, int64[n, dim], and with what sign, float32[n, dim]."""
    block, salts = config["block"], arrays["salts"]
    n_blocks = -(-dim // block)
    places = np.zeros((len(rows), dim), np.int64)
    signs = np.ones((len(rows), dim), np.float32)
    for line, row in enumerate(rows):
        for j in range(dim):
            places[line, j] = bucket(mixed(row, salts[j // block]), config["size"] - block + 1) + j % block
            if config["signed"] and mixed(row, salts[n_blocks + j // 64]) >> (j % 64) & 1:
                signs[line, j] = -1
    return places, signs


def robe_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of the scheme robe, from its config and arrays."""
    places, signs = robe_places(config, arrays, rows, dim)
    return arrays["array"][places] * signs


def adapt_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme adapt, from its config and arrays."""
    marked = bits_of(arrays["words"])
    hashed = [config["hot"] + bucket(mixed(row, arrays["salt"][0]), config["shared"]) for row in rows]
    private = [marked[:row].sum() for row in rows]
    return arrays["rows"][np.where(marked[rows], private, hashed)]


def dedup_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme dedup, from its config and arrays."""
    return arrays["blocks"][arrays["map"][rows // config["block_rows"]], rows % config["block_rows"]]


def stored_places(config, arrays):
    """The places of the stored numbers of a sparse table, in order."""
    if config["places"] == "bitmap":
        return np.flatnonzero(bits_of(arrays["words"])).tolist()
    starts = arrays["starts"].tolist()
    span = {"uint8": 256, "uint16": 65_536}[config["places"]]
    blocks = enumerate(itertools.pairwise(starts))
    return [block * span + int(place) for block, (first, last) in blocks for place in arrays["offsets"][first:last]]


def sparse_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of the schemes deeplight and autosrh, from their config and arrays."""
    stored = dict(zip(stored_places(config, arrays), arrays["values"], strict=True))
    found = [stored.get(int(row) * dim + column, 0) for row in rows for column in range(dim)]
    return np.array(found, np.float32).reshape(len(rows), dim)


def optembed_rows(config, arrays, rows, dim):
    """Rows float32[n, dim] of the scheme optembed, from its config and arrays."""
    columns = np.repeat(arrays["dims"].astype(int), [field["size"] for field in config["fields"]])
    widths = columns * bits_of(arrays["words"])[: len(columns)]
    firsts = np.cumsum(widths) - widths
    found = np.zeros((len(rows), dim), np.float32)
    for line, row in enumerate(rows):
        found[line, : widths[row]] = arrays["values"][firsts[row] : firsts[row] + widths[row]]
    return found


def mgqe_codes(config, arrays, rows):
    """Codes int64[n, parts] of the scheme mgqe: bytes of hot rows, 6 bits a code of others, least significant first."""
    parts, marked = config["parts"], bits_of(arrays["words"])
    bits = np.unpackbits(arrays["cold"], bitorder="little")
    codes = np.zeros((len(rows), parts), np.int64)
    for line, row in enumerate(rows):
        before = marked[:row].sum()
        if marked[row]:
            codes[line] = arrays["hot"][before]
        else:
            first = (row - before) * parts * 6
            codes[line] = bits[first : first + parts * 6].reshape(parts, 6) @ (1 << np.arange(6))
    return codes


def mgqe_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme mgqe, from its config and arrays."""
    codes = mgqe_codes(config, arrays, rows)
    return np.concatenate([arrays["codebook"][part, codes[:, part]] for part in range(config["parts"])], axis=1)


def mish(x):
    """x tanh(log(1 + exp x)) in float32, with the exponential that kernels/mlp.py documents."""
    f = np.float32
    x = np.maximum(x, f(-87))
    least = np.minimum(x, f(20))
    steps = np.floor(least * f(1.4426950408889634) + f(0.5))
    rest = (least - steps * f(0.693359375)) - steps * f(-2.12194440054690583e-4)
    series = f(1 / 720)
    for factorial in (120, 24, 6, 2):
        series = series * rest + f(1 / factorial)
    power = np.ldexp(series * rest * rest + rest + f(1), steps.astype(np.int32))
    grown = power * (power + f(2))
    return x * (grown / (grown + f(2)))


def affine(inputs, weights, bias):
    """Bias + inputs @ weights in float32, the inputs added in their order."""
    total = np.broadcast_to(bias, (len(inputs), len(bias)))
    for number, line in enumerate(weights):
        total = total + inputs[:, number : number + 1] * line
    return total


def dhe_rows(config, arrays, ids):
    """Rows float32[n, d] of the scheme dhe, from its config and arrays."""
    activate = mish if config["activation"] == "mish" else lambda x: np.maximum(x, np.float32(0))
    units = unit_hashes(ids, arrays["salts"])
    for number in range(5):
        units = activate(affine(units, arrays[f"weights{number}"], arrays[f"biases{number}"]))
    return affine(units, arrays["weights5"], arrays["biases5"])


def unified_places(config, n_lookups, salts, row):
    """The table rows of one row of the scheme unified."""
    first_own = config["buckets"]
    for number, field in enumerate(config["fields"]):
        is_exempt = field["name"] in config["exempt"]
        if row < field["size"]:
            if is_exempt:
                return [first_own + row * n_lookups + j for j in range(n_lookups)]
            return [bucket(mixed(row, salts[number][j]), config["buckets"]) for j in range(n_lookups)]
        row -= field["size"]
        first_own += field["size"] * n_lookups if is_exempt else 0
    raise IndexError(row)


def unified_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme unified, from its config and arrays."""
    salts = arrays["salts"]
    places = [unified_places(config, salts.shape[1], salts, row) for row in rows]
    return np.stack([np.concatenate([arrays["rows"][place] for place in own]) for own in places])


def hash_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme hash, from its config and arrays."""
    return arrays["rows"][[bucket(mixed(row, arrays["salt"][0]), config["buckets"]) for row in rows]]
