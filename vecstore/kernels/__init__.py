"""Numba kernels: arrays in, arrays out; no Python objects, no allocation in loops, no I/O.

``intrinsics`` is the only module that speaks LLVM; ``distance`` gives one generic distance over every stored
form; ``lookup``, ``topk`` and ``graph`` are written once on top of them.
"""
