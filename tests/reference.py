"""Plain numpy twins of the kernels: slow, obvious, and written from the documented formulas."""

from __future__ import annotations

import itertools

import numpy as np

LANES = 16
ACCUMULATORS = 4


def lane_sum(terms):
    """Sum float32[..., d] over the last axis in the order that kernels/intrinsics fixes, step by step in float32."""
    block = LANES * ACCUMULATORS
    padding = -terms.shape[-1] % block
    padded = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, padding)])
    blocks = padded.reshape(*terms.shape[:-1], -1, ACCUMULATORS, LANES)
    totals = np.zeros((*terms.shape[:-1], ACCUMULATORS, LANES), np.float32)
    for number in range(blocks.shape[-3]):
        totals = totals + blocks[..., number, :, :]
    lanes = (totals[..., 0, :] + totals[..., 1, :]) + (totals[..., 2, :] + totals[..., 3, :])
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def dots(rows, queries):
    """Inner products float32[q, n] by the lane rule."""
    return lane_sum(queries[:, None, :] * rows.astype(np.float32)[None, :, :])


def squared_distances(rows, queries):
    """Squared Euclidean distances float32[q, n] by the lane rule."""
    difference = queries[:, None, :] - rows.astype(np.float32)[None, :, :]
    return lane_sum(difference * difference)


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
    raise NotImplementedError(f"scheme {name!r} has no twin in tests/reference.py; write one")


def coded_rows(arrays, rows):
    """Rows float32[n, d] of the schemes int8, int16 and alpt, from their arrays."""
    scales = arrays["scales"][rows, None] if "scales" in arrays else arrays["scale"]
    return arrays["codes"][rows].astype(np.float32) * scales


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


def distances(matrix, queries, metric):
    """Distances float64[q, n] in full precision."""
    rows, asked = matrix.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((asked[:, None, :] - rows[None, :, :]) ** 2).sum(axis=-1)
    return (1.0 if metric == "cosine" else 0.0) - asked @ rows.T


def nearest(found, k, rows=None):
    """The k nearest by distance, then by row: rows int64[q, k] and distances, padded with -1 and inf."""
    rows = np.arange(found.shape[1]) if rows is None else rows
    places = np.full((len(found), k), -1, np.int64)
    values = np.full((len(found), k), np.inf, np.float32)
    for query, line in enumerate(found):
        order = np.lexsort((rows, line))[:k]
        places[query, : len(order)] = rows[order]
        values[query, : len(order)] = line[order]
    return places, values


def recall(found, expected):
    """Share of the expected rows that were found; -1 counts for neither."""
    hits = sum(len((set(a) & set(b)) - {-1}) for a, b in zip(found.tolist(), expected.tolist(), strict=True))
    return hits / (expected >= 0).sum()


def clustered(rng, n_rows, dim, n_clusters=40):
    """Gaussian clusters, which have the uneven neighbourhoods that random vectors lack."""
    centres = rng.standard_normal((n_clusters, dim))
    return (centres[rng.integers(0, n_clusters, n_rows)] + 0.5 * rng.standard_normal((n_rows, dim))).astype(np.float32)


def mixed(key, salt):
    """The 64-bit hash of an id under a salt, in Python's integers."""
    z = (int(key) + int(salt)) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def bucket(hashed, size):
    """The place of a 64-bit hash in a table of that size."""
    return (hashed >> 32) * size >> 32


def unit_hashes(keys, salts):
    """The inputs float32[n, k] of the scheme dhe."""
    return np.float32([[(2 * (mixed(key, salt) >> 40) + 1 - 2**24) / 2**24 for salt in salts] for key in keys])


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


def bits_of(words):
    """The bits of uint64 words, least significant first, as bool."""
    return np.array([int(word) >> bit & 1 for word in words for bit in range(64)], bool)


def hash_rows(config, arrays, rows):
    """Rows float32[n, d] of the scheme hash, from its config and arrays."""
    return arrays["rows"][[bucket(mixed(row, arrays["salt"][0]), config["buckets"]) for row in rows]]


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


def _hadamard(rows):
    """float32[n, m] times the Walsh-Hadamard matrix over sqrt(m), in float32."""
    size, half = rows.shape[1], 1
    while half < size:
        pairs = rows.reshape(len(rows), -1, 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        rows, half = rows.reshape(len(rows), size), 2 * half
    return rows * (np.float32(1) / np.sqrt(np.float32(size)))


def _turned(rows, salt, turns, flip_first):
    """Rows after those rounds of the rotation of kernels/rotation.py, as its documentation says, in float32."""
    rows, dim = rows.copy(), rows.shape[1]
    size = 1 << (dim.bit_length() - 1)
    for turn in turns:
        signs = bits_of([mixed((turn << 32) + word, salt) for word in range(-(-dim // 64))])[:dim]
        if flip_first:
            rows = np.where(signs, -rows, rows)
        block = slice(dim - size, dim) if turn % 2 else slice(0, size)
        rows[:, block] = _hadamard(rows[:, block])
        if not flip_first:
            rows = np.where(signs, -rows, rows)
    return rows


def rotated(rows, salt):
    """Rows float32[n, d] after the rotation."""
    return _turned(rows, salt, (0, 1, 2, 3), flip_first=True)


def rotated_back(rows, salt):
    """Rows float32[n, d] before the rotation."""
    return _turned(rows, salt, (3, 2, 1, 0), flip_first=False)


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


def pca_pq_rows(config, arrays, rows, dim):
    """Rows float32[n, d] of the scheme pca+pq: those of pq along the axes, times the axes, added in order."""
    codec = {name[6:]: a for name, a in arrays.items() if name.startswith("codec.")}
    own = {name: a for name, a in arrays.items() if not name.startswith("codec.")}
    own["rows"] = pq_rows(config["codec"], codec, rows, config["outer"]["width"])
    return projected_rows(own, np.arange(len(rows)))


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
        raise NotImplementedError(f"scheme {config['scheme']!r} has no twin in tests/reference.py; write one")
    return DECODERS[config["scheme"]](config, arrays, rows, dim)
