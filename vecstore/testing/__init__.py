"""What tests of vecstore and of its plug-ins hold implementations against.

:class:`ModelCollection` is a collection made of a dict and numpy. It shares no code with the engine, so whatever
implements :class:`vecstore.api.Collection` can be driven beside it and must give the same answers.
"""

from vecstore.testing.conditions import passes
from vecstore.testing.model import ModelCollection

__all__ = ["ModelCollection", "passes"]
