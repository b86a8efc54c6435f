"""The ``vecstore`` command: serve, import, export, search, inspect and change stores from a shell."""
