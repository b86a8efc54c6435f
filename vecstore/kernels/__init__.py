"""Numba kernels: arrays in, arrays out; no Python objects, no allocation in loops, no I/O.

``compiling``, and what it imports, compiles, keeps and calls them; ``intrinsics`` emits instructions that Numba has no
name for; ``distance`` gives one generic distance over every stored form; ``lookup``, ``topk`` and ``graph`` are written
once on top of them.
"""
