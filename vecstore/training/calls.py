"""Whether a training loop makes the calls that a method needs, and the warning where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Calls", "StageWarning"]

#: Backward passes for each ``after_step`` from which on the loop is said to leave calls out. Stages have up to two
#: updates a step; the rest is room for loops that add up the gradients of many batches.
_BACKWARDS_A_STEP = 100
#: Step of a stage at which new parameters must have been updated. A scaler of mixed precision leaves out the first.
_CHECKED_STEP = 5


class StageWarning(UserWarning):
    """A training loop leaves out calls that the method needs, so that a weaker one is trained."""


class Calls:
    """What a loop did with a layer since it was made: backward passes, stages and steps.

    None of it is part of the layer's state: a layer that is loaded and frozen was not trained here.
    """

    def __init__(self) -> None:
        self._backwards = 0
        self._steps = 0
        self._begun: list[str] = []
        self._warned = False
        # The versions of the parameters that the last stage brought along, which rise with every update in place.
        self._fresh: list[tuple[nn.Parameter, int]] = []

    def backward(self, gradient: Tensor) -> None:  # noqa: ARG002
        """Note a backward pass; a hook on the layer's vectors."""
        self._backwards += 1

    def begin(self, stage: str, before: Iterable[nn.Parameter], after: Iterable[nn.Parameter]) -> None:
        """Note a stage, with the table's parameters before and after it began."""
        self._begun.append(stage)
        known = {id(parameter) for parameter in before}
        self._fresh = [(own, own._version) for own in after if id(own) not in known]

    def step(self, step: int, steps: int) -> str | None:
        """Note an ``after_step``; give a complaint where the new parameters of the stage were not updated."""
        self._steps += 1
        if step != min(_CHECKED_STEP, steps) or not self._fresh:
            return None
        idle = all(parameter._version == version for parameter, version in self._fresh)
        self._fresh = []
        if not idle:
            return None
        return (
            f"begin({self._begun[-1]!r}) replaced parameters, and no step has changed the new ones: an optimiser that "
            "was made before trains the old ones; make the optimisers of a stage after its begin"
        )

    def complaint(self, stages: Sequence[str], *, steps_matter: bool) -> str | None:
        """Say which calls are missing in a layer that is frozen; None where none are, and after it was said once.

        Parameters
        ----------
        stages : sequence of str
            Of the method, in order.
        steps_matter : bool
            Whether the method does anything in ``after_step``.
        """
        if self._warned or not self._backwards:
            return None
        missing = []
        if len(stages) > 1 and stages[-1] not in self._begun:
            begun = ", ".join(dict.fromkeys(self._begun)) or "none"
            missing.append(f"begin() of {stages[-1]!r} was never called (stages: {', '.join(stages)}; begun: {begun})")
        if steps_matter and self._backwards > _BACKWARDS_A_STEP * self._steps:
            missing.append(f"after_step() was called {self._steps} times in {self._backwards} backward passes")
        if not missing:
            return None
        self._warned = True
        return (
            f"{' and '.join(missing)}, so this table is of a weaker method than its name says; call begin() before "
            "each of stages(), and after_step() after every step"
        )
