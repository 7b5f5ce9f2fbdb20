"""P5: gradients. No output at step t may have a gradient with respect to an input after t, or of another listing.

A gradient names the reach and the layer through which the future enters, and sees leaks of any size above rounding. It
is blind behind an operation without one (sort, sign, argmax, detach): the same inputs are therefore also rewritten
really, and even so P5 alone acquits nothing; P2 on the module's target does the deciding.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hitherto.audit import cuts as cutting
from hitherto.audit.canary import Leak
from hitherto.audit.modules import ModulePlan
from hitherto.audit.probes import since
from hitherto.audit.probes.locating import Kept, classify
from hitherto.audit.probes.stepwise import Experiment, experiment, located, rewritten
from hitherto.audit.verdict import CanaryResult, Finding, ProbeResult, Status, date
from hitherto.panel import Panel
from hitherto.seeds import Stream

if TYPE_CHECKING:
    import torch
    from torch import nn

REACH_STEPS = 64  # steps whose own gradients are looked at when something was found
STATES: tuple[Status, ...] = ("LEAK", "cannot tell", "not assessed", "ok")  # the worse one of two modes
STRENGTHS = (1.0, 1e-3, 1e-6, 1e-9, 1e-12)
BLIND = "no gradient passes a sort, sign, argmax or detach: P2 on the module's target decides"


@dataclass
class Evidence:
    """What one mode of a module showed. pairs: (listing, cut) that moved; old, new: a number before and after."""

    pairs: set[tuple[int, int]] = field(default_factory=set)
    tried: int = 0
    flowing: bool = False
    broken: bool = False
    by_gradient: bool = False
    old: float | None = None
    new: float | None = None
    reach: int = 0
    to_end: bool = False


def probe(plan: ModulePlan, panel: Panel, rng: Stream, *, rounds: int = 4, listings: int = 6) -> ProbeResult:
    """Differentiate every output by later inputs and by other listings' inputs, in evaluation mode and as given.

    ``rounds`` cuts for each of ``listings`` listings, spread over month ends, resume days, ex-dates; on the last 384
    steps at most, in float64 where the module allows. Findings: L06 batch statistics or neighbours, L08 a convolution,
    L09 a recurrence over reversed time, L10 attention, else L01, L02 or L04 by the reach; ``where`` is the dotted
    layer, ``reach`` the largest s - t found (a note says when it goes to the end). Status "cannot tell": gradients are
    NaN, or the module raised; "not assessed": no gradient reaches its inputs.
    """
    begun = time.perf_counter()
    found: list[Finding] = []
    details: list[str] = []
    hits = tried = 0
    states: set[Status] = set()
    for evaluating in (True, False) if plan.in_train_mode else (True,):
        mode = "" if evaluating else "in train mode, as given"
        draw = rng.numpy("gradients", plan.name)
        try:
            test, first, chosen = experiment(plan, panel, evaluating=evaluating, listings=listings, draw=draw)
            e, new = _both_ways(test, panel, plan, (first, chosen), rng, rounds)
        except Exception as error:  # noqa: BLE001  the module is somebody else's code; what it raised is reported
            details.append(f"{plan.name} raised {type(error).__name__}: {error}".split("\n")[0][:200])
            states.add("cannot tell")
            continue
        if mode:
            new = [dataclasses.replace(f, note=f"{f.note}; {mode}") for f in new]
        found += [f for f in new if not any((f.leak, f.where) == (old.leak, old.where) for old in found)]
        hits, tried = hits + len(e.pairs), tried + e.tried
        details += [" ".join([said, mode]).strip() for said in _said(test, e)]
        state: Status = "LEAK" if new else "cannot tell" if e.broken else "ok" if e.flowing else "not assessed"
        states.add(state)
    status: Status = next(s for s in STATES if s in states)
    what = f"outputs differentiated by later inputs at {tried} cuts"
    what += " and by other listings" * (plan.unit == "asset")
    return ProbeResult("P5", plan.name, what, status, "; ".join([*dict.fromkeys(details), BLIND]), (hits, tried),
                       tuple(found), {plan.name: (hits, tried)}, seconds=since(begun))  # fmt: skip


def _said(test: Experiment, e: Evidence) -> list[str]:
    """What limits a result."""
    out = []
    if e.broken:
        out.append("gradients are NaN or infinite")
    elif not e.flowing:
        out.append("no gradient reaches the inputs")
    if str(test.x.dtype) == "torch.float32":
        out.append("in float32: what is below 1e-6 of the largest gradient does not show")
    if not test.steady:
        out.append("equal calls differ: gradients only")
    return out


def canaries(plan: ModulePlan, panel: Panel, rng: Stream, *, listings: int = 6) -> tuple[CanaryResult, ...]:
    """Plant the next bar of the first channel beside the outputs, ever weaker, and say which of them P5 catches.

    The strength is in units of the outputs' scale. One backward pass each, in evaluation mode; for a module that P5
    found clean, since beside a real leak a planted one proves nothing.
    """
    import torch

    draw = rng.numpy("gradients", plan.name)
    test, first, chosen = experiment(plan, panel, evaluating=True, listings=listings, draw=draw)
    size = float(torch.nan_to_num(test.base).std()) or 1.0
    cuts = _cuts(panel, test.x.shape[1], first, chosen, rng.child("canary"), 1, together=plan.unit == "date")[0]
    out = []
    for strength in STRENGTHS:

        def leaky(module: nn.Module, x: torch.Tensor, share: float = strength * size) -> torch.Tensor:
            return plan.steps(module, x) + share * torch.cat([x[:, 1:, :1], torch.zeros_like(x[:, :1, :1])], 1)

        e = Evidence()
        _ahead(Experiment(test.module, leaky, test.x, plan.name), cuts, e)
        leak, caught = Leak(1, strength), bool(e.pairs)
        out.append(
            CanaryResult(
                f"{plan.name} by gradient", str(leak), caught, ("P5",) if caught else (), leak.essential,
                (len(e.pairs), e.tried), (strength, 1.0),
            )
        )  # fmt: skip
    return tuple(out)


def neighbours(
    module: nn.Module, x: torch.Tensor, *, axis: int = 1, name: str | None = None,
    call: Callable[[nn.Module, torch.Tensor], Any] | None = None,
) -> ProbeResult:  # fmt: skip
    """Check by gradient that a window model's output for one sample does not depend on the others in its batch.

    module: x, floats with the batch along ``axis``, here (L, B, F), -> (B, ...), in the mode in which it predicts.
    ``call(module, x)``: how it is called. Class L06 with the dotted layer; statuses as for ``probe``.
    """
    begun = time.perf_counter()
    label = name or type(module).__name__
    use = call or (lambda m, v: m(v))

    def steps(m: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return use(m, batch.movedim(0, axis)).flatten(1)[:, None, :]  # one step: (B, 1, K)

    what = f"the outputs of each of {x.shape[axis]} samples differentiated by the others"
    try:
        test = Experiment(module, steps, x.detach().movedim(axis, 0).contiguous(), label)
    except Exception as error:  # noqa: BLE001  the module is somebody else's code; what it raised is reported
        said = f"{label} raised {type(error).__name__}: {error}".split("\n")[0][:200]
        return ProbeResult("P5", label, what, "cannot tell", said, seconds=since(begun))
    e = Evidence()
    own = _company(test, label, e)
    status = "LEAK" if own else "cannot tell" if e.broken else "ok" if e.flowing else "not assessed"
    return ProbeResult("P5", label, what, status, BLIND, (int(own is not None), 1), (own,) if own else (),
                       seconds=since(begun))  # fmt: skip


def _both_ways(
    test: Experiment, panel: Panel, plan: ModulePlan, where: tuple[int, np.ndarray], rng: Stream, rounds: int
) -> tuple[Evidence, list[Finding]]:
    """Other listings first: where the batch talks, all listings must be cut together."""
    e = Evidence()
    own = _company(test, plan.name, e) if len(test.x) > 1 else None
    coupled = own is not None or plan.unit == "date"
    first, chosen = where
    for cuts in _cuts(panel, test.x.shape[1], first, chosen, rng, rounds, together=coupled):
        _ahead(test, cuts, e)
    found = [own] if own is not None and plan.unit == "asset" else []
    if e.pairs:
        _reach(test, e, coupled)
        ahead = _finding(test, plan, panel, e, first)
        # One line for one layer: batch statistics over time are both.
        found = [ahead, *(f for f in found if (f.leak, f.where) != (ahead.leak, ahead.where))]
    return e, found


def _cuts(
    panel: Panel, T: int, first: int, chosen: np.ndarray, rng: Stream, rounds: int, *, together: bool
) -> list[np.ndarray]:
    """Stratified cuts (B,) in steps of the experiment, one set per round; two rounds together cost what they find."""
    part = panel.assets(chosen)
    ok = np.zeros(part.shape, bool)
    ok[first : first + T - 1] = True
    if together:
        rows = cutting.common(part, ok, 2 * rounds, rng.child("gradients"))
        return [np.full(len(chosen), int(c) - first) for c in rows]
    return list(cutting.each(part, ok, rounds, rng.child("gradients")) - first)


def _ahead(test: Experiment, cuts: np.ndarray, e: Evidence) -> None:
    """Outputs at or before each listing's cut, by inputs after it: by gradient, then by really rewriting them."""
    import torch

    B, T = test.x.shape[:2]
    cut = torch.from_numpy(np.asarray(cuts))
    future = torch.arange(T)[None, :] > cut[:, None]
    e.tried += B
    bad = torch.zeros(B, dtype=torch.bool)
    g = test.gradient(test.weights * ~future[:, :, None])
    if g is not None and not torch.isfinite(g).all():
        e.broken = True
    elif g is not None and g.abs().max() > 0:
        e.flowing = True
        bad = ((g.abs().amax(-1) > test.limits[0] * g.abs().max()) & future).any(1)
        e.by_gradient |= bool(bad.any())
    new = test.run(rewritten(test.x, future)) if test.steady else test.base
    past = test.dirty(new) & ~future
    if past.any() and e.old is None:
        b, t = (int(i) for i in past.nonzero()[0])
        k = int((new[b, t] - test.base[b, t]).abs().nan_to_num(nan=float("inf")).argmax())
        e.old, e.new = float(test.base[b, t, k]), float(new[b, t, k])
    bad |= past.any(1)
    e.pairs |= {(int(b), int(cut[b])) for b in bad.nonzero()[:, 0]}


def _reach(test: Experiment, e: Evidence, coupled: bool) -> None:
    """The largest s - t, and whether that is as far as the inputs go."""
    guilty = min(t for _, t in e.pairs)
    by_step = _by_gradient(test, guilty, coupled) if e.by_gradient else {}
    if test.steady:
        # Rewriting confirms and extends what gradients say of one step; where they say nothing, of the first one too.
        for t in {guilty} if by_step else {0, guilty}:
            by_step[t] = _by_rewriting(test, t, by_step.get(t, 0))
    by_step = {t: k for t, k in by_step.items() if k > 0}
    e.reach = max(by_step.values(), default=1)
    earliest = min(by_step, default=0)
    e.to_end = e.reach > 1 and by_step[earliest] >= 0.8 * (test.x.shape[1] - 1 - earliest)


def _by_gradient(test: Experiment, guilty: int, coupled: bool) -> dict[int, int]:
    """Step t -> largest s - t with a gradient; listings that do not talk have a step each in one backward pass."""
    import torch

    B, T = test.x.shape[:2]
    spread = np.linspace(0, T - 2, min(REACH_STEPS, T - 1)).astype(int)
    steps = sorted({0, guilty, *(int(t) for t in spread)})
    out: dict[int, int] = {}
    for a in range(0, len(steps), 1 if coupled else B):
        some = steps[a : a + (1 if coupled else B)]
        own = torch.tensor([some[b % len(some)] for b in range(B)])
        only = test.weights * (torch.arange(T)[None, :] == own[:, None])[:, :, None]
        g = test.gradient(only)
        if g is None or not torch.isfinite(g).all():
            continue
        size = g.abs().amax(2)
        for b, s in (size > test.limits[0] * size.max()).nonzero().tolist():
            t = int(own[b])
            out[t] = max(out.get(t, 0), s - t)
    return out


def _by_rewriting(test: Experiment, guilty: int, low: int) -> int:
    """Return the largest k >= ``low`` such that inputs from guilty + k on move an output at or before guilty."""
    import torch

    B, T = test.x.shape[:2]
    high, step = T - guilty, 1
    while low + 1 < high:
        k = min(low + step, high - 1)
        later = (torch.arange(T) >= guilty + k).expand(B, T)
        if test.dirty(test.run(rewritten(test.x, later)))[:, : guilty + 1].any():
            low, step = k, step * 2
        else:
            high, step = k, max(1, (k - low) // 2)
    return low


def _company(test: Experiment, name: str, e: Evidence) -> Finding | None:
    """Outputs of each listing by the inputs of the others."""
    import torch

    B = len(test.x)
    hits, proof = 0, (None, None)
    own = 0
    for b in range(B):
        only = torch.zeros_like(test.weights)
        only[b] = test.weights[b]
        g = test.gradient(only)
        others = torch.arange(B) != b
        bad = False
        if g is not None and not torch.isfinite(g).all():
            e.broken = True
        elif g is not None and g.abs().max() > 0:
            e.flowing = True
            bad = bool(g[others].abs().max() > test.limits[0] * g.abs().max())
        if b == 0 or bad:
            new = test.run(rewritten(test.x, others[:, None].expand(test.x.shape[:2]))) if test.steady else test.base
            moved = test.dirty(new)[b]
            if moved.any() and proof[0] is None:
                t = int(moved.nonzero()[0])
                k = int((new[b, t] - test.base[b, t]).abs().argmax())
                proof, own = (float(test.base[b, t, k]), float(new[b, t, k])), b
            bad |= bool(moved.any())
        hits += bad
    if not hits:
        return None
    T = test.x.shape[1]
    others = (torch.arange(B) != own)[:, None].expand(B, T)
    at = located(test, rewritten(test.x, others), Kept(B, T, None, own))
    return Finding("L06", f"{name}.{at.path}" if at.path else name, "P5", hits, B, old=proof[0], new=proof[1],
                   of="listings", note=f"other listings enter at {at}")  # fmt: skip


def _finding(test: Experiment, plan: ModulePlan, panel: Panel, e: Evidence, first: int) -> Finding:
    """The future in one mode of the module: layer, class and reach."""
    import torch

    B, T = test.x.shape[:2]
    cut = min(t for _, t in e.pairs)
    later = (torch.arange(T) > cut).expand(B, T)
    at = located(test, rewritten(test.x, later), Kept(B, T, cut))
    leak = classify(at.layer, at.op, at.hidden, e.reach, e.to_end)
    notes = [f"the future enters at {at}"]
    notes += ["to the end"] * e.to_end
    notes += ["through an operation without a gradient"] * (not e.by_gradient)
    return Finding(leak, f"{plan.name}.{at.path}" if at.path else plan.name, "P5", len(e.pairs), e.tried, e.reach,
                   date(panel, first + cut), e.old, e.new, note="; ".join(notes))  # fmt: skip
