"""Checks that every rung of the ladder of nets passes: bits, neighbours, the future, seeds, weights, gradients.

``model`` is a settings object with small sizes and one or two epochs; a fit of it is made once per (data, seed).
"""

import dataclasses
import functools
import itertools

import numpy as np
import torch

from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.models.base import Context, Forecaster
from hitherto.seeds import Stream
from hitherto.windows import Windows


@functools.lru_cache(maxsize=32)
def made(width=3, lookback=8, days=30, names=9, outputs=1, seed=0):
    """Return (train, valid, test) windows: the label is a curved function of the last two rows plus noise.

    ``days`` dates have a whole window; the first half of them trains, three tenths validate, the rest tests.
    """
    T = days + lookback - 1
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, names, width)).astype(np.float32)
    before = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    plan = rng.standard_normal((2, width, outputs))
    y = x @ plan[0] + np.abs(before) @ plan[1] + 0.3 * rng.standard_normal((T, names, outputs))
    row = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], y.shape)
    label = Label(y, row + 1, row + 2, tuple(f"y{o}" for o in range(outputs)), (1,) * outputs)
    features = Features(x, tuple(f"x{f}" for f in range(width)), (1,) * width)
    whole = Windows(features, label, np.ones((T, names), bool), lookback)
    day = np.arange(T)[:, None] - (lookback - 1)
    cuts = (0, days // 2, days // 2 + 3 * days // 10, days)
    return tuple(whole.with_(mask=whole.mask & (day >= a) & (day < b)) for a, b in itertools.pairwise(cuts))


def data(model, **sizes):
    """Return ``made`` at the lookback of ``model``."""
    return made(lookback=max(model.lookback, 1), **sizes)


@functools.lru_cache(maxsize=64)
def fitted(model, threads=1, seed=0, names=9, outputs=1):
    """Return the fit of ``model`` on ``data(model, ...)``."""
    train, valid, _ = data(model, names=names, outputs=outputs)
    return model.fit(train, valid, rng=Stream(seed, "rung"), context=Context(threads=threads))


def by_key(windows, predicted):
    """Return {(t, n): prediction}."""
    return dict(zip(map(tuple, windows.index.tolist()), predicted, strict=True))


def changed(windows, where, seed=1):
    """Return ``windows`` with the inputs at ``where`` (T, N) bool replaced by wild numbers."""
    values = windows.features.values.copy()
    values[where] = 100 * np.random.default_rng(seed).standard_normal((int(where.sum()), values.shape[2]))
    return windows.with_(features=dataclasses.replace(windows.features, values=values))


def reordered(windows, order):
    """Return ``windows`` with its listings in another order: column j is the old column order[j]."""
    label = windows.label
    parts = {k: getattr(label, k)[:, order] for k in ("values", "start", "end")}
    return windows.with_(
        features=dataclasses.replace(windows.features, values=windows.features.values[:, order]),
        label=dataclasses.replace(label, **parts),
        mask=windows.mask[:, order],
    )


def same(a, b, unit):
    """Bit for bit for unit "asset"; to 1e-5 for "date", where the sums over the names take another order."""
    return np.array_equal(a, b) if unit == "asset" else np.allclose(a, b, rtol=1e-5, atol=1e-5)


def check_batch_equals_one_by_one(model, names=40):
    """A unit is forecast alike in a batch, alone, among others and in another order; on any number of threads."""
    fit = fitted(model, names=names)
    _, _, test = data(model, names=names)
    whole = fit.predict(test)
    assert isinstance(model, Forecaster)
    assert whole.shape == (len(test), 1)
    assert whole.dtype == np.float64
    assert np.isfinite(whole).all()
    assert len(np.unique(whole)) > len(whole) // 2  # a constant forecast would pass everything below
    expected = by_key(test, whole)
    rng = np.random.default_rng(0)
    dates = np.unique(test.index[:, 0])
    if model.unit == "date":
        parts = [np.arange(len(test.mask)) == t for t in dates]
        masks = [test.mask & p[:, None] for p in parts]
    else:
        masks = [test.mask & (rng.random(test.mask.shape) < share) for share in (0.05, 0.3, 0.8)]
        for t, n in test.index[rng.permutation(len(test))[:12]]:
            masks.append(np.zeros_like(test.mask))
            masks[-1][t, n] = True
    for mask in masks:
        some = test.with_(mask=mask)
        want = np.array([expected[tuple(k)] for k in some.index.tolist()])
        assert np.array_equal(fit.predict(some), want)
    order = rng.permutation(names)
    moved = by_key(reordered(test, order), fit.predict(reordered(test, order)))
    cells = [(t, j) for t in dates for j in range(names)]
    assert same([moved[t, j] for t, j in cells], [expected[t, order[j]] for t, j in cells], model.unit)
    if hasattr(fit, "net"):
        again = model.load(fit.tensors(), Context(threads=3))
        assert np.array_equal(again.predict(test), whole)


def check_neighbours_and_future(model, names=9):
    """Later bars, bars before the window and (unit "asset") other listings change no bit; the last row does."""
    fit = fitted(model, names=names)
    _, _, test = data(model, names=names)
    expected = by_key(test, fit.predict(test))
    T, N = test.mask.shape
    t_ = np.arange(T)[:, None]
    t = int(np.median(test.index[:, 0]))
    one = test.with_(mask=test.mask & (t_ == t))
    later = np.broadcast_to(t_ > t, (T, N))
    earlier = np.broadcast_to(t_ <= t - max(model.lookback, 1), (T, N))
    want = np.array([expected[tuple(k)] for k in one.index.tolist()])
    for where in (later, earlier, later | earlier):
        assert where.any()
        assert np.array_equal(fit.predict(changed(one, where)), want)
    n = N // 2
    others = np.broadcast_to(np.arange(N) != n, (T, N))
    mine = by_key(one, fit.predict(changed(one, others)))[t, n]
    assert np.array_equal(mine, expected[t, n]) or model.unit == "date"
    own = (t_ == t) & ~others
    assert not np.array_equal(by_key(one, fit.predict(changed(one, own)))[t, n], expected[t, n])


def check_same_seed_same_bits(model):
    """Same seed, same bits at 1 and 3 threads; another seed, other bits unless the fit draws nothing."""
    state = torch.get_rng_state()
    first = fitted(model)
    _, _, test = data(model)
    for threads in (1, 3):
        fit = fitted.__wrapped__(model, threads=threads)
        assert list(fit.tensors()) == list(first.tensors())
        assert all(np.array_equal(v, first.tensors()[k]) for k, v in fit.tensors().items())
        assert np.array_equal(fit.predict(test), first.predict(test))
    assert torch.equal(state, torch.get_rng_state())
    other = fitted(model, seed=1)
    assert np.array_equal(other.predict(test), first.predict(test)) != getattr(model, "stochastic", True)


def check_round_trip(model, outputs=2):
    """Predicting changes nothing; weights written as safetensors and read back forecast the same bits."""
    from safetensors.numpy import load, save

    fit = fitted(model, outputs=outputs)
    _, _, test = data(model, outputs=outputs)
    before, state = {k: np.array(v) for k, v in fit.tensors().items()}, torch.get_rng_state()
    first = fit.predict(test)
    assert first.shape == (len(test), outputs)
    assert np.array_equal(first, fit.predict(test))
    assert torch.equal(state, torch.get_rng_state())
    tensors = fit.tensors()
    assert list(tensors) == list(before)
    assert all(np.array_equal(v, before[k]) for k, v in tensors.items())
    assert fit.predict(test.with_(mask=np.zeros_like(test.mask))).shape == (0, outputs)
    stored = load(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
    if hasattr(model, "load"):
        assert np.array_equal(model.load(stored).predict(test), first)


def check_gradients(module, x, seed=0):
    """The gradients of ``module(x, None)`` to x (L, B, F) and to every parameter equal finite differences, float64.

    The parameters are drawn anew from a seeded generator (uniform in +-1/2, large enough to be curved).
    """
    module = module.double()
    generator = Stream(seed, "gradients").torch()
    names = [k for k, p in module.named_parameters() if p.requires_grad]
    values = [
        (torch.rand(p.shape, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
        for p in module.parameters()
        if p.requires_grad
    ]
    inputs = x.detach().double().requires_grad_()

    def run(x, *weights):
        return torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, None))

    assert names
    assert torch.autograd.gradcheck(run, (inputs, *values))
    grads = torch.autograd.grad(run(inputs, *values).square().sum(), values)
    assert all(bool(g.abs().max() > 0) for g in grads)  # every parameter takes part
