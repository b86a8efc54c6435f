"""Run the demo: ``python -m vecstore_bench.demo``."""

from vecstore_bench.demo.run import main

if __name__ == "__main__":
    main()
