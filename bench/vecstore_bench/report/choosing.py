"""Which scheme to take for which use, from what ran and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vecstore_bench.report.comparing import BASELINE, Comparison, Entry, Figure, overlap
from vecstore_bench.report.measures import CODE_BYTES, LOOKUP, SEARCH, TRAIN_MEMORY, Measure

__all__ = ["Advice", "Rules", "advise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where advice draws its lines.

    Attributes
    ----------
    loss : float
        Percent of the quality of ``full`` that may be lost, not included.
    extreme : float
        Ratio from which on a table is extremely small.
    same_bytes : float
        Tables larger than the smallest by up to this share count as equally small.
    """

    loss: float = 0.5
    extreme: float = 50.0
    same_bytes: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The answer for one use.

    Attributes
    ----------
    use : str
        The question, short.
    rule : str
        How the answer is found.
    entry : Entry or None
        The answer; None where nothing that ran meets the rule.
    ties : tuple of Entry
        What the run cannot tell from the answer, best first.
    notes : tuple of str
        What to know about the answer, or why there is none.
    """

    use: str
    rule: str
    entry: Entry | None
    ties: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()


def advise(comparison: Comparison, rules: Rules) -> list[Advice]:
    """Give the advice for every use."""
    searched = any(SEARCH.key in entry.figures for entry in comparison.compressed)
    return [
        _smallest(comparison, rules),
        _least(comparison, rules, "Least training memory", TRAIN_MEMORY),
        _least(comparison, rules, "Fastest look-up", LOOKUP),
        *(_for_searches(comparison, rules) if searched else []),
        _extreme(comparison, rules),
    ]


def _for_searches(comparison: Comparison, rules: Rules) -> list[Advice]:
    return [
        _least(comparison, rules, "Fastest search", SEARCH),
        _least(comparison, rules, "Least in memory, a finer copy on disk", CODE_BYTES),
    ]


def _smallest(comparison: Comparison, rules: Rules) -> Advice:
    use = f"Smallest at < {rules.loss:g} % loss"
    rule = (
        f"The fewest bytes at a mean loss below {rules.loss:g} %; of tables within {rules.same_bytes:.0%} of the "
        "fewest, the one that loses least."
    )
    eligible, notes = _eligible(comparison, rules)
    if not eligible:
        return Advice(use=use, rule=rule, entry=None, notes=notes)
    fewest = min(entry.bytes for entry in eligible)
    near = [entry for entry in eligible if entry.bytes <= fewest * (1 + rules.same_bytes)]
    return _within(_best(comparison, use, rule, near, _loss), rules)


def _least(comparison: Comparison, rules: Rules, use: str, measure: Measure) -> Advice:
    most = "most" if measure.higher else "least"
    rule = f"The {most} {measure.title.lower()} at a mean loss below {rules.loss:g} %."
    measured = [entry for entry in comparison.compressed if measure.key in entry.figures]
    if not measured:
        return Advice(use=use, rule=rule, entry=None, notes=(measure.missing,))
    eligible, notes = _eligible(comparison, rules)
    candidates = [entry for entry in eligible if measure.key in entry.figures]
    if not candidates:
        return Advice(use=use, rule=rule, entry=None, notes=notes or ("No scheme within the loss was measured.",))
    return _within(_best(comparison, use, rule, candidates, lambda entry: _ranked(entry, measure)), rules)


def _ranked(entry: Entry, measure: Measure) -> Figure:
    """Give a figure of which less is better."""
    figure = entry.figures[measure.key]
    return replace(figure, mean=-figure.mean) if measure.higher else figure


def _extreme(comparison: Comparison, rules: Rules) -> Advice:
    use = f"Extreme ratios, {rules.extreme:g} times or more"
    rule = f"The least loss among tables at most 1/{rules.extreme:g} of float32."
    if comparison.reference is None:
        return Advice(use=use, rule=rule, entry=None, notes=_unknown_loss(comparison))
    candidates = [
        entry for entry in comparison.compressed if entry.loss is not None and (entry.ratio or 0) >= rules.extreme
    ]
    if candidates:
        return _within(_best(comparison, use, rule, candidates, _loss), rules)
    ratios = [(entry.ratio, entry) for entry in comparison.compressed if entry.ratio is not None]
    note = f"No table that ran is so small. Budgets of {1 / rules.extreme:g} and below would tell."
    if ratios:
        ratio, smallest = max(ratios, key=lambda pair: pair[0])
        note = (
            f"No table that ran is so small; the smallest is {smallest.scheme} at {ratio:.3g} times. "
            f"Budgets of {1 / rules.extreme:g} and below would tell."
        )
    return Advice(use=use, rule=rule, entry=None, notes=(note,))


def _eligible(comparison: Comparison, rules: Rules) -> tuple[list[Entry], tuple[str, ...]]:
    """Give what loses little enough; and if there is none, why."""
    if comparison.reference is None:
        return [], _unknown_loss(comparison)
    # A table that is not smaller answers no use.
    smaller = [entry for entry in comparison.compressed if entry.ratio is None or entry.ratio > 1]
    rated = [(entry.loss, entry) for entry in smaller if entry.loss is not None]
    found = [entry for loss, entry in rated if loss.mean < rules.loss]
    if found or not rated:
        return found, () if found else ("No table that is smaller than float32 is done.",)
    loss, nearest = min(rated, key=lambda pair: pair[0].mean)
    return [], (f"No scheme meets it. The nearest is {nearest.scheme}, which loses {loss.mean:.2f} %.",)


def _unknown_loss(comparison: Comparison) -> tuple[str, ...]:
    missing = "column of quality" if comparison.quality is None else f"quality of the scheme `{BASELINE}`"
    return (f"Losses are unknown: the run has no {missing} on this data and model.",)


def _best(
    comparison: Comparison, use: str, rule: str, candidates: Sequence[Entry], figure: Callable[[Entry], Figure]
) -> Advice:
    """Choose the lowest figure; what overlaps with it is tied."""
    ranked = sorted(candidates, key=lambda entry: (figure(entry).mean, entry.bytes, entry.scheme))
    chosen = ranked[0]
    ties = tuple(entry for entry in ranked[1:] if overlap(figure(entry), figure(chosen)))
    return Advice(use=use, rule=rule, entry=chosen, ties=ties, notes=_seed_notes(chosen, comparison))


def _within(advice: Advice, rules: Rules) -> Advice:
    """Note where the answer loses more than the rule for losses allows, surely or perhaps."""
    if advice.entry is None or (loss := _loss(advice.entry)).high < rules.loss:
        return advice
    note = f"Over seeds the loss reaches {loss.high:.2f} %, so {rules.loss:g} % is not safe."
    if loss.mean >= rules.loss:
        note = f"It loses {rules.loss:g} % or more here."
    return replace(advice, notes=(note, *advice.notes))


def _seed_notes(entry: Entry, comparison: Comparison) -> tuple[str, ...]:
    done, most = len(entry.seeds), max(len(one.seeds) for one in comparison.entries)
    notes = []
    if done < most:
        notes.append(f"Only {done} of {most} seeds are done.")
    if done == 1:
        notes.append("One seed ran: how much figures vary is unknown, so small differences may be chance.")
    return tuple(notes)


def _loss(entry: Entry) -> Figure:
    if entry.loss is None:
        raise ValueError(f"{entry.scheme}: its loss is unknown")
    return entry.loss
