"""Twins of codecs: rows of codes, decoded."""

from __future__ import annotations

import numpy as np

from tests.reference.learned import projected_rows
from tests.reference.numbers import bits_of, rotated, rotated_back


def quantise(matrix, limit=127):
    """Codes and scales of the schemes int8 and, with another limit, int16."""
    scales = np.abs(matrix).max(axis=1, initial=0) / np.float32(limit)
    return nearest_codes(matrix, scales, limit), scales


def nearest_codes(matrix, scales, limit):
    """Codes int8 or int16[n, d] of float32[n, d] with scales float32[n]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.clip(np.rint(matrix / scales[:, None]), -limit, limit)
    codes[scales == 0] = 0
    return codes.astype(np.int8 if limit == 127 else np.int16)


def best_scales(matrix, limit):
    """Scales float32[n] with the smallest squared error among those that kernels/scales.py documents."""

    def error(row, scale):
        codes = np.clip(np.rint(row / scale), -limit, limit).astype(np.float32)
        # cumsum adds from left to right, as the kernel does.
        return np.cumsum((row.astype(np.float64) - (scale * codes).astype(np.float64)) ** 2)[-1]

    found = np.zeros(len(matrix), np.float32)
    for number, row in enumerate(matrix):
        largest = np.abs(row).max(initial=np.float32(0))
        full = largest / np.float32(limit)
        if full == 0:
            continue
        least, found[number] = error(row, full), full
        reach = min(1.0, np.sqrt(least) / np.float64(largest))
        for trial in range(1, 32):
            scale = np.float32(np.float64(full) * (1 - reach * (trial / 32)))
            if scale > 0 and error(row, scale) < least:
                least, found[number] = error(row, scale), scale
    return found


def decoded(name, matrix):
    """What a scheme gives back for float32[n, d]."""
    if name == "full":
        return matrix
    if name == "float16":
        return matrix.astype(np.float16).astype(np.float32)
    if name == "int8":
        codes, scales = quantise(matrix)
        return codes.astype(np.float32) * scales[:, None]
    if name == "int16":
        codes, scales = quantise(matrix, 32_767)
        return codes.astype(np.float32) * scales[:, None]
    if name == "alpt":
        scales = best_scales(matrix, 127)
        return nearest_codes(matrix, scales, 127).astype(np.float32) * scales[:, None]
    raise NotImplementedError(f"scheme {name!r} has no twin in tests/reference; write one")


def coded_rows(arrays, rows):
    """Rows float32[n, d] of the schemes int8, int16 and alpt, from their arrays."""
    scales = arrays["scales"][rows, None] if "scales" in arrays else arrays["scale"]
    return arrays["codes"][rows].astype(np.float32) * scales


def rabitq_numbers(config, arrays, rows, dim):
    """The odd integers int64[n, d] of rows of rabitq: planes of bits, least significant first.

    In blocks, a plane is eight numbers a byte, and 16 rows lie side by side; row by row, a plane is whole words.
    """
    if config.get("layout") == "rows":
        own = np.ascontiguousarray(arrays["codes"][rows, :-1]).view(np.uint8)
    else:
        own = arrays["codes"][rows // 16, :, rows % 16]
    planes = np.unpackbits(own, axis=1, bitorder="little").reshape(len(rows), config["bits"], -1)[:, :, :dim]
    top = 2 ** config["bits"] - 1
    return 2 * (planes * 2 ** np.arange(config["bits"])[:, None]).sum(axis=1).astype(np.int64) - top


def rabitq_tails(config, arrays):
    """Scales and squared lengths of all rows, float32[n]; row by row they are halves of the last word."""
    if config.get("layout") != "rows":
        return arrays["scales"], arrays["norms"]
    both = np.ascontiguousarray(arrays["codes"][:, -1:]).view(np.float32)
    return both[:, 0], both[:, 1]


def rabitq_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of rabitq: numbers at the length of the residual, rotated back, plus the centroid."""
    numbers = rabitq_numbers(config, arrays, rows, dim)
    norms = rabitq_tails(config, arrays)[1]
    factors = np.sqrt(norms[rows]) / np.sqrt((numbers**2).sum(axis=1).astype(np.float32))
    residuals = numbers.astype(np.float32) * factors[:, None]
    return rotated_back(residuals, arrays["salt"][0]) + arrays["centroid"]


def rabitq_asked(config, rest, salt):
    """Rotated queries float64[q, d]; for codes row by row in the nearest of 2^B numbers around 0."""
    turned = rotated(rest, salt)
    if config.get("layout") != "rows":
        return turned.astype(np.float64)
    top = 2 ** (4 * -(-(config["bits"] + 2) // 4)) - 1
    largest = np.abs(turned).max(axis=1, keepdims=True)
    factor = np.float32(top) / (np.float32(2) * largest)
    numbers = np.minimum((turned * factor + np.float32((top + 1) // 2)).astype(np.int64), top)
    return (2 * numbers - top) * (largest.astype(np.float64) / top)


def rabitq_estimates(config, arrays, queries, metric, dim):
    """Estimated distances float64[q, n] of the scheme rabitq."""
    scales, norms = (part.astype(np.float64) for part in rabitq_tails(config, arrays))
    v = rabitq_numbers(config, arrays, np.arange(len(scales)), dim) * scales[:, None]
    q, c = queries.astype(np.float64), arrays["centroid"].astype(np.float64)
    rest = queries if metric == "ip" else queries - arrays["centroid"]
    products = rabitq_asked(config, rest, arrays["salt"][0]) @ v.T
    if metric == "ip":
        return -(q @ c)[:, None] - products
    squared = ((q - c) ** 2).sum(1)[:, None] + norms - 2 * products
    return squared if metric == "l2" else 1 - ((q**2).sum(1)[:, None] + 1 - squared) / 2


def pq_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme pq: the centroids of all parts, side by side."""
    if config["bits"] == 8:
        codes = arrays["codes"][rows]
    else:
        own = arrays["blocks"][rows // 16, :, rows % 16]
        codes = np.stack([own & 15, own >> 4], axis=2).reshape(len(rows), -1)[:, : config["parts"]]
    parts = [arrays["codebook"][part, codes[:, part]] for part in range(config["parts"])]
    return np.concatenate(parts, axis=1)[:, :dim]


def opq_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme opq: those of pq, times the matrix, added in order."""
    found = pq_rows(config, {k[6:]: a for k, a in arrays.items() if k.startswith("inner.")}, rows, dim)
    return projected_rows({"rows": found, "projection": arrays["0.matrix"]}, np.arange(len(rows)))


def int4_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme int4: low halves first, then high halves."""
    own = arrays["codes"][rows]
    codes = np.concatenate([own & 15, own >> 4], axis=1)[:, :dim].astype(np.float32)
    return arrays["centroid"] + (arrays["offsets"][rows, None] + arrays["steps"][rows, None] * codes)


def binary_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme binary: signs at the length 1."""
    own = arrays["words"][rows // 64, :, rows % 64]
    bits = np.array([bits_of(line)[:dim] for line in own], bool).reshape(len(rows), dim)
    size = np.float32(1) / np.sqrt(np.float32(dim))
    return np.where(bits, size, -size)
