"""The 32 classes of leaks: what each is, its cure, its place in a taxonomy, and which probe can show it.

The taxonomy is that of S. Kapoor and A. Narayanan, "Leakage and the reproducibility crisis in machine-learning-based
science", Patterns 4(9), 100804, 2023 (arXiv 2207.07048). Its three families and eight types, with their numbers, were
read in transcriptions of the paper's text in several public repositories that agree; the authors' own page is
reproducible.cs.princeton.edu.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hitherto.audit.verdict import Finding, ProbeResult

TAXONOMY: Mapping[str, str] = {
    "L1.1": "no test set", "L1.2": "pre-processing on training and test set",
    "L1.3": "feature selection on training and test set", "L1.4": "duplicates in datasets",
    "L2": "features that are not legitimate", "L3.1": "temporal leakage",
    "L3.2": "training and test samples are not independent", "L3.3": "sampling bias in the test distribution",
}  # fmt: skip


class LeakClass(NamedTuple):
    """A class of leaks: what it is, what to do, its type in ``TAXONOMY``; near: the type is only the nearest one."""

    what: str
    fix: str
    kind: str = "L2"
    near: bool = False

    @property
    def taxonomy(self) -> str:
        """The type in words, e.g. "L3.1 temporal leakage"."""
        return f"{'nearest: ' if self.near else ''}{self.kind} {TAXONOMY[self.kind]}"


CLASSES: Mapping[str, LeakClass] = {
    "L01": LeakClass("the next bar is used", "drop the negative shift; a label belongs in a label object"),
    "L02": LeakClass("a window reaches past the decision", "use a trailing window"),
    "L03": LeakClass("gaps are filled from later bars", "fill forward or leave NaN; never bfill or interpolate"),
    "L04": LeakClass("statistics of the whole sample are used", "use a rolling or expanding statistic", "L1.2"),
    "L05": LeakClass(
        "something was fitted on rows past the decision", "fit scalers and models on the fold's train rows", "L1.2"
    ),
    "L06": LeakClass(
        "predictions depend on batch neighbours", "no batch statistics at prediction; use eval mode or LayerNorm"
    ),
    "L07": LeakClass(
        "prediction changes state or is random", "switch dropout and running statistics off at prediction", near=True
    ),
    "L08": LeakClass("a convolution looks ahead", "pad on the left only: (kernel - 1) * dilation, or cut the tail off"),
    "L09": LeakClass(
        "a recurrence reads the sequence backwards", "one direction, or both inside a window that ends at t"
    ),
    "L10": LeakClass("attention sees later steps", "a causal mask: step t attends to steps <= t only"),
    "L11": LeakClass("a label spans bars known at its own decision", "enter the label after the decision bar"),
    "L12": LeakClass(
        "a longer bar is dated before its end",
        "date weeks, months and surveys at their end; join the last finished one (merge_asof backward)",
    ),
    "L13": LeakClass("train and test are shuffled in time", "split in time, never shuffle overlapping samples", "L3.1"),
    "L14": LeakClass("train labels straddle the test rows", "purge train samples by the end of their labels", "L3.1"),
    "L15": LeakClass(
        "train samples overlap test samples", "purge both sides, and add an embargo after the test rows", "L3.2"
    ),
    "L16": LeakClass(
        "copies of one sample lie on both sides of a split",
        "split first; blend, resample and augment inside the train rows",
        "L1.4",
    ),
    "L17": LeakClass("an encoding of the target knows later labels", "fit encodings on the fold's train rows", "L1.2"),
    "L18": LeakClass("inputs were selected with later rows", "select on the fold's train rows", "L1.3"),
    "L19": LeakClass(
        "the best of several trials was chosen on the test data",
        "count every trial; keep one untouched test stretch, or deflate the Sharpe ratio",
        "L1.1",
    ),
    "L20": LeakClass(
        "training stops, or is chosen, by the test rows", "stop on a validation stretch before the test", "L1.1"
    ),
    "L21": LeakClass("orders fill in the bar that decided them", "fill at the next bar's open or close", near=True),
    "L22": LeakClass(
        "fills at prices that could not be had",
        "fill at the open or close, or at a limit that the bar passed through",
        near=True,
    ),
    "L23": LeakClass(
        "whether a name can be traded at the open is read from the close",
        "decide it from the open against the limit",
        near=True,
    ),
    "L24": LeakClass(
        "names are taken by who lived on, or outside their life",
        "take the names listed on each date, the dead included",
        "L3.3",
    ),
    "L25": LeakClass("membership is used as known later", "join membership as it was on each date", "L3.3"),
    "L26": LeakClass(
        "names not listed on a date are counted", "rank and standardise over the names listed and known on the date"
    ),
    "L27": LeakClass("restated values are used as first prints", "join on known_at and keep every version of a value"),
    "L28": LeakClass(
        "price levels know later splits or dividends", "use ratios, or raw prices with the factor known on the day"
    ),
    "L29": LeakClass(
        "fills that the day could not give",
        "no fills without a bar or volume, at a limit on the wrong side, or of shares bought today",
        "L3.3",
        near=True,
    ),
    "L30": LeakClass(
        "a date or publication time is read too early", "take dates in the market's zone; join on known_at with a lag"
    ),
    "L31": LeakClass(
        "later sessions or halts are read as a calendar known ahead",
        "take holidays and halts from a calendar with known_at, never from later rows",
    ),
    "L32": LeakClass(
        "the result depends on run or length, not on the past",
        "seed every draw; use no row count, clock or cache",
        near=True,
    ),
}

# What each probe can show; a class is put here when the probe names it or moves on the corpus' items of that class.
SHOWS: Mapping[str, tuple[str, ...]] = {
    "P0": ("L07", "L32"),
    "P1": ("L01", "L02", "L03", "L04", "L12", "L17", "L31", "L32"),
    "P2": ("L01", "L02", "L03", "L04", "L11", "L12", "L17"),
    "P3": ("L05", "L13", "L14", "L16", "L17", "L18", "L20"),
    "P4": ("L06", "L07"),
    "P5": ("L06", "L08", "L09", "L10"),
    "P6": ("L25", "L27", "L28"),
    "P7": ("L24", "L26", "L28", "L30", "L32"),
    "P8": ("L05",),
    "P9": ("L21",),
    "P10": ("L11", "L13", "L14", "L15"),
    "P11": ("L19",),
    "P12": ("L32",),
    "P13": (),
}

_RUN, _FIT = "no code to run again", "no fit to run again"
_NET, _SPLIT, _FILLS = "no torch module with an output per step", "no folds with labels", "no table of fills"
NEEDS: Mapping[str, str] = {
    **dict.fromkeys(("L01", "L02", "L03", "L04", "L12", "L17", "L31", "L32"), _RUN),
    **dict.fromkeys(("L05", "L16", "L18", "L20"), _FIT), **dict.fromkeys(("L06", "L07"), "no predictor"),
    **dict.fromkeys(("L08", "L09", "L10"), _NET), **dict.fromkeys(("L11", "L13", "L14", "L15"), _SPLIT),
    "L19": "no ledger of test reads and trials", "L21": "no book or fills with their decisions",
    **dict.fromkeys(("L22", "L23", "L29"), _FILLS), "L25": "no vintages", "L27": "no vintages",
    **dict.fromkeys(("L24", "L26", "L28", "L30"), "only metamorphic data, at level 'full', would show it"),
}  # fmt: skip
RELATIONS = {"scale": "L28", "newcomer": "L26", "dead": "L24", "clock": "L30", "delay": "L30"}  # of P7


def covered(result: ProbeResult) -> tuple[str, ...]:
    """Return the classes that a result looked for, whatever it found; none when it could not be run."""
    if result.status not in ("ok", "LEAK"):
        return ()
    if result.looked:
        return result.looked
    named = tuple(k for k in result.hits if k in CLASSES)  # tables count per class
    if named:
        return named
    if result.probe == "P10" and result.target != "split":  # somebody's splitter: labels are only stated
        return "L13", "L14", "L15"
    if result.probe == "P7":
        return tuple(k for k in SHOWS["P7"] if k not in _unasked(result))
    return SHOWS.get(result.probe, ())


def _unasked(result: ProbeResult) -> set[str]:
    """Classes of which P7 could not ask all it asks."""
    return {leak for relation, leak in RELATIONS.items() if f"{relation} not assessed" in result.detail}


def standing(
    results: Iterable[ProbeResult], findings: Iterable[Finding], not_assessed: Iterable[str]
) -> dict[str, str]:
    """Return class -> "found", "looked for by P1 P2" or "not assessed: why", for all 32.

    A sentence "L24: why" among ``not_assessed`` outweighs a probe that looked at a part of that class.
    """
    results = list(results)
    found = {f.leak for f in findings}
    said = {s[:3]: s[5:] for s in not_assessed if s[:3] in CLASSES and s[3:5] == ": "}
    by: dict[str, dict[str, None]] = {leak: {} for leak in CLASSES}
    stuck: dict[str, str] = {}
    for r in results:
        for leak in covered(r):
            by[leak][r.probe] = None
        if r.status == "cannot tell":
            for leak in r.looked or SHOWS.get(r.probe, ()):
                stuck.setdefault(leak, f"{r.probe} cannot tell")
    out = {}
    for leak in CLASSES:
        if leak in found:
            out[leak] = "found"
        elif by[leak] and leak not in said:
            out[leak] = "looked for by " + " ".join(sorted(by[leak], key=lambda p: int(p[1:])))
        else:
            out[leak] = f"not assessed: {said.get(leak) or stuck.get(leak) or _why(leak, results)}"
    return out


def _why(leak: str, results: list[ProbeResult]) -> str:
    """Why nobody looked, when nobody said."""
    for r in results:
        if r.probe == "P7" and leak in _unasked(r):
            return next(part for part in r.detail.split("; ") if " not assessed" in part and _of(part) == leak)
    return NEEDS[leak]


def _of(part: str) -> str:
    return RELATIONS.get(part.split(" ")[0], "")


def compact(classes: Mapping[str, str]) -> str:
    """Return one line: "classes looked for: L01-L05 L07; not assessed: L08-L10 (no torch module ...), ..."."""
    open_: dict[str, list[str]] = {}
    for leak, what in classes.items():
        if what.startswith("not assessed: "):
            open_.setdefault(what.removeprefix("not assessed: "), []).append(leak)
    looked = [leak for leak, what in classes.items() if not what.startswith("not assessed: ")]
    rest = ", ".join(f"{spans(leaks)} ({why})" for why, leaks in open_.items())
    return f"classes looked for: {spans(looked) or 'none'}; not assessed: {rest or 'none'}"


def spans(leaks: Iterable[str]) -> str:
    """Return "L01-L05 L07" for sorted class ids; two in a row stay apart."""
    runs: list[list[str]] = []
    for leak in leaks:
        if runs and int(leak[1:]) == int(runs[-1][-1][1:]) + 1:
            runs[-1].append(leak)
        else:
            runs.append([leak])
    return " ".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else " ".join(r) for r in runs)
