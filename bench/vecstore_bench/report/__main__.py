"""``python -m vecstore_bench.report RUN``."""

from vecstore_bench.report.command import main

main(prog_name="python -m vecstore_bench.report")
