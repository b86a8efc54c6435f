"""The schemes as the registry knows them, and what a run says of each: schemes of plug-ins appear by themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vecstore import choosing
from vecstore.choosing import AUTO
from vecstore.schemes import get, names
from vecstore.schemes.base import Capabilities, Family, Scheme
from vecstore_bench.report.choosing import Advice
from vecstore_bench.report.comparing import BASELINE, Comparison
from vecstore_bench.report.labels import codec_of, is_composed
from vecstore_bench.report.measures import budget_text, bytes_text

__all__ = ["FAMILIES", "FamilyText", "Method", "family_of", "methods_of"]


@dataclass(frozen=True, slots=True)
class FamilyText:
    """What schemes of a family have in common, and when one of them is the place to look."""

    idea: str
    take: str


FAMILIES: Mapping[Family, FamilyText] = {
    Family.BASELINE: FamilyText("What all others are compared with.", "Take it to know what compression costs."),
    Family.HASHING: FamilyText(
        "Hashes choose, for each id, numbers that it shares with other ids.",
        "Take it for very many ids and very small budgets: bytes need not grow with the number of ids.",
    ),
    Family.SHARING: FamilyText(
        "Ids that are rare or alike share rows or parts of rows; the data says which.",
        "Take it where few ids make up most of the look-ups, or many vectors are alike.",
    ),
    Family.QUANTISATION: FamilyText(
        "Every number is kept, with fewer bits.", "Take it where 2 to 4 times smaller is enough and quality must hold."
    ),
    Family.DIMENSION: FamilyText(
        "Some fields or ids have fewer numbers.", "Take it where fields differ much in size and popularity."
    ),
    Family.PRUNING: FamilyText(
        "Numbers that matter little are not stored.",
        "Take it where only the served table must be small: while it is trained, all numbers are there.",
    ),
}

#: Capability -> what it means for who chooses.
_ABILITIES = {
    "exact": "gives back every bit",
    "posthoc": "can be fitted to vectors that are there already",
    "trained": "has a layer to train from the start",
    "unseen": "has vectors for ids that training never saw",
    "appendable": "takes further rows later",
    "joint": "one table for all fields",
    "graph": "graph search over its codes",
}

#: Where the idea of ``auto`` is from, which is no scheme but a choice among schemes.
_AUTO_PAPER = "none: a knapsack over measured curves; a direction that Zhang et al., VLDB 2024, name"

#: Directions of the docstrings' markup that leave their text.
_ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?([^`]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A scheme for its card.

    Attributes
    ----------
    name : str
    family : Family or None
        None where the scheme is not installed here, and for ``auto``, which chooses among schemes.
    paper : str
    what : tuple of str
        Sentences of its docstrings; code is in double backquotes, as there.
    take : str
        When to take it.
    abilities : tuple of str
    ran : bool
        Whether the run has a cell of it, of any outcome.
    found : tuple of str
        What the run says of it, one line each.
    """

    name: str
    family: Family | None
    paper: str
    what: tuple[str, ...]
    take: str
    abilities: tuple[str, ...]
    ran: bool
    found: tuple[str, ...]


def family_of(name: str) -> Family | None:
    """Give the family of a scheme, of what is composed that of its codec; None where it is not installed here."""
    codec = codec_of(name)
    return get(codec).family if codec in names() else None


def methods_of(comparisons: Sequence[Comparison], advice: Sequence[Sequence[Advice]]) -> list[Method]:
    """Describe all schemes of the registry and of the run: those that ran come first, then by family and name.

    Parameters
    ----------
    comparisons : sequence of Comparison
    advice : sequence of sequences of Advice
        What was advised in each.
    """
    there = {scheme for comparison in comparisons for scheme in _schemes(comparison)}
    families = list(Family)
    known = there | {*names(), AUTO}
    found = [_method(name, comparisons, advice, ran=name in there) for name in sorted(known)]
    return sorted(
        found,
        key=lambda one: (not one.ran, families.index(one.family) if one.family else len(families), one.name),
    )


def _schemes(comparison: Comparison) -> set[str]:
    missed = [cell.scheme for cell in (*comparison.infeasible, *comparison.failed)]
    return {codec_of(name) for name in (*(entry.scheme for entry in comparison.entries), *missed)}


def _method(name: str, comparisons: Sequence[Comparison], advice: Sequence[Sequence[Advice]], *, ran: bool) -> Method:
    found = tuple(
        f"{comparison.key}: {line}" if len(comparisons) > 1 else line
        for comparison, own in zip(comparisons, advice, strict=True)
        for line in _findings(name, comparison, own)
    )
    if name == AUTO:
        what = tuple(_sentence(text) for text in ((inspect.getdoc(choosing) or "").split("\n\n")))
        take = "Take it where fields differ, and one scheme for all of them wastes bytes on some."
        return Method(
            name=name, family=None, paper=_AUTO_PAPER, what=what, take=take, abilities=(), ran=ran, found=found
        )
    if name not in names():
        what = ("This scheme is not installed here, so nothing but its results is known.",)
        return Method(name=name, family=None, paper="", what=what, take="", abilities=(), ran=ran, found=found)
    scheme = get(name)
    return Method(
        name=name,
        family=scheme.family,
        paper=scheme.paper,
        what=_what(scheme),
        take=FAMILIES[scheme.family].take,
        abilities=_abilities(scheme.capabilities),
        ran=ran,
        found=found,
    )


def _what(scheme: type[Scheme]) -> tuple[str, ...]:
    """Give the line of the module, where it is about this scheme, and the first paragraph of the class."""
    paragraph = (inspect.getdoc(scheme) or "").split("\n\n")[0]
    module = (inspect.getdoc(inspect.getmodule(scheme)) or "").split("\n\n")[0]
    about, _, line = module.partition(": ")
    sentences = [line, paragraph] if about.strip("`") == scheme.name else [paragraph]
    return tuple(_sentence(text) for text in sentences if text)


def _sentence(text: str) -> str:
    plain = _ROLE.sub(r"``\1``", " ".join(text.split()))
    return plain[:1].upper() + plain[1:]


def _abilities(capabilities: Capabilities) -> tuple[str, ...]:
    return tuple(text for name, text in _ABILITIES.items() if getattr(capabilities, name))


def _findings(name: str, comparison: Comparison, advice: Sequence[Advice]) -> list[str]:
    """Say what a run found about a scheme: floor, best and smallest table, and for which uses it is advised."""
    lines = []
    own = [entry for entry in comparison.entries if entry.scheme == name]
    if name in comparison.floors:
        lines.append(f"Floor: needs at least {bytes_text(comparison.floors[name])} here.")
    elif own:
        smallest = min(entry.bytes for entry in own)
        lines.append(f"Floor: not reached; its smallest table here has {bytes_text(smallest)}.")
    losses = sorted((entry.bytes, entry.loss, entry.budget) for entry in own if entry.loss and name != BASELINE)
    for _, loss, budget in losses[:1] + losses[-1:] if len(losses) > 1 else losses:
        spread = f" ± {loss.spread:.2f}" if loss.spread is not None else ""
        lines.append(f"At a budget of {budget_text(budget)}: loss {loss.mean:.2f}{spread} %.")
    for one in advice:
        if one.entry is not None and codec_of(one.entry.scheme) == name:
            form = f" (as {one.entry.scheme})" if is_composed(one.entry.scheme) else ""
            lines.append(f"Advised: {one.use.lower()}{form}.")
    failed = sum(codec_of(cell.scheme) == name for cell in comparison.failed)
    if failed:
        lines.append(f"{failed} of its cells failed.")
    return lines
