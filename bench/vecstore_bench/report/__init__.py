"""A run of the benchmark as one HTML file, its plots, and a summary in the terminal.

``reading`` finds the cells of a run, ``measures`` says what their columns mean, ``comparing`` takes means over seeds
and the loss against ``full``, ``choosing`` gives advice, ``methods`` describes the schemes, ``plots`` draws, ``page``
and ``terminal`` show it all.
"""
