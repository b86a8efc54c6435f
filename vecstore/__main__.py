"""``python -m vecstore`` is the ``vecstore`` command."""

from vecstore.cli.main import main

if __name__ == "__main__":
    main()
