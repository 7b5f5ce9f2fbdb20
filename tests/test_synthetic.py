"""Toy markets: the planted truth is the conditional mean it claims to be."""

from itertools import permutations

import numpy as np
import pytest

from hitherto.errors import ConfigError
from hitherto.labels import forward_return
from hitherto.market import synthetic
from hitherto.outcome import Outcome
from hitherto.panel import from_bars

MARKETS = {
    "noise": synthetic.noise, "linear": synthetic.linear, "nonlinear": synthetic.nonlinear, "events": synthetic.events,
    "cross_stock": synthetic.cross_stock,
}  # fmt: skip


def samples(toy):
    """The panel, and (truth, label) of every labelled sample from row 19 on."""
    panel = from_bars(toy.bars)
    label = forward_return(panel, (1,), "next_close").values[..., 0]
    ok = np.isfinite(label) & np.isfinite(toy.truth)
    ok[:19] = False
    return panel, label, ok


@pytest.mark.parametrize("name", MARKETS)
def test_same_seed_same_market(name):
    a, b, c = MARKETS[name](3), MARKETS[name](3), MARKETS[name](4)
    assert from_bars(a.bars).digest() == from_bars(b.bars).digest()
    assert np.array_equal(a.truth, b.truth, equal_nan=True)
    assert from_bars(a.bars).digest() != from_bars(c.bars).digest()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "ic"), [("linear", 0.3), ("nonlinear", 0.4), ("cross_stock", 0.4)])
def test_the_truth_is_the_conditional_mean(name, ic, seed):
    """Label = truth + independent noise: slope 1, IC as said.

    44,400 samples: the slope's standard error is sqrt(1 / ic^2 - 1) / 211 = 0.015 (linear) and 0.011; the bar is 4.5 of
    them, chance 7e-6 per case. The IC's is 0.0047; 4.5 of them, plus 15 % for the feedback of the truth on itself; the
    truths of one date of the cross-stock market share a factor: their variance errs by 1.8 standard errors of 1,480
    dates, sqrt(2 / 1480) = 3.7 %, the IC by half of that, so that 15 % are 8 of them.
    """
    toy = MARKETS[name](seed, strength=ic)
    _, label, ok = samples(toy)
    x, y = toy.truth[ok], label[ok]
    slope = (x * y).sum() / (x * x).sum()
    assert abs(slope - 1) < 4.5 * np.sqrt(1 / ic**2 - 1) / np.sqrt(len(x))
    assert abs(np.corrcoef(x, y)[0, 1] - ic) < 4.5 / np.sqrt(len(x)) + 0.15 * ic
    assert abs(y.std() / synthetic.SIGMA - 1) < 0.05


def test_the_linear_truth_is_its_formula():
    toy = synthetic.linear(0, bars=300, symbols=5, strength=0.2)
    close = from_bars(toy.bars).fields["close"]
    expected = -0.2 / np.sqrt(5) * (close[5:] / close[:-5] - 1)
    assert np.allclose(toy.truth[5:], expected, rtol=0, atol=1e-13)
    assert (toy.truth[:5] == 0).all()


def test_the_nonlinear_truth_is_a_function_of_the_last_20_bars():
    toy = synthetic.nonlinear(0, bars=200, symbols=4)
    f = from_bars(toy.bars).fields
    night = np.full((200, 4), np.nan)
    night[1:] = f["open"][1:] / f["close"][:-1] - 1
    z = night / (synthetic.SIGMA * np.sqrt(0.3))
    unit = np.mean(np.tanh(np.random.default_rng(0).standard_normal(2_000_000)) ** 2)
    for t in (20, 77, 199):
        old, new = z[t - 19 : t - 4].sum(0) / np.sqrt(15), z[t - 4 : t + 1].sum(0) / np.sqrt(5)
        # The unit is E[tanh(u)^2] by simulation: standard error 0.03 %, the bar is 0.3 %.
        assert np.allclose(toy.truth[t], 0.4 * synthetic.SIGMA * np.tanh(old) * np.tanh(new) / unit, rtol=3e-3)


@pytest.mark.parametrize("seed", range(3))
def test_the_nonlinear_truth_hides_from_linear_and_short_sighted_models(seed):
    """Fitted on the first half, scored on the second: no IC for a linear model of all 20 bars, nor for a table of the
    signs of the last five bars. 22,440 test samples: standard error 0.0067, bar 4.5 of them: 7e-6 a case.
    """
    toy = synthetic.nonlinear(seed)
    panel, label, ok = samples(toy)
    f = panel.fields
    night = np.zeros(panel.shape)
    night[1:] = f["open"][1:] / f["close"][:-1] - 1
    x = np.stack([np.roll(night, k, axis=0) for k in range(20)], axis=2)
    early, late = ok.copy(), ok.copy()
    early[725:], late[:750] = False, False
    beta = np.linalg.lstsq(x[early], label[early], rcond=None)[0]
    signs = ((x[..., :5] > 0) * 2 ** np.arange(5)).sum(2)
    table = np.array([label[early][signs[early] == k].mean() for k in range(32)])
    bar = 4.5 / np.sqrt(late.sum())
    assert abs(np.corrcoef(x[late] @ beta, label[late])[0, 1]) < bar
    assert abs(np.corrcoef(table[signs[late]], label[late])[0, 1]) < bar
    # The planted failure of this test: the same two scores do see the truth once it is shown to them.
    assert np.corrcoef(toy.truth[late], label[late])[0, 1] > 0.35


def tags(panel):
    """The two inputs of the cross-stock market read off its bars, in standard units: (T, N) each, row 0 NaN."""
    f = panel.fields
    night = np.full(panel.shape, np.nan)
    night[1:] = f["open"][1:] / f["close"][:-1] - 1
    return night / (synthetic.SIGMA * np.sqrt(0.3)), (np.log(f["volume"]) - 13) / 0.5


def covariance(a, v, n):
    """What the cross-stock truth says of stock ``n``: how a and v go together among the others of the date."""
    others = [j for j in range(len(a)) if j != n]
    x, y = a[others] - np.mean(a[others]), v[others] - np.mean(v[others])
    return (x * y).sum() / np.sqrt(len(others) - 1)


def test_the_cross_stock_truth_is_its_formula():
    toy = synthetic.cross_stock(0, bars=200, symbols=7, strength=0.3)
    z, v = tags(from_bars(toy.bars))
    unit = np.mean(np.tanh(np.random.default_rng(0).standard_normal(2_000_000)) ** 2)
    assert (toy.truth[0] == 0).all()
    for t in (1, 77, 199):
        a = np.tanh(z[t]) / np.sqrt(unit)
        expected = [0.3 * synthetic.SIGMA * a[n] * covariance(a, v[t], n) for n in range(7)]
        # The unit is E[tanh(u)^2] by simulation: standard error 0.03 %, the bar is 0.3 %.
        assert np.allclose(toy.truth[t], expected, rtol=3e-3, atol=0)


def test_over_the_pairings_of_a_date_the_cross_stock_truth_has_mean_0():
    """Who sees every a and every v of the others, but not which goes with which, knows nothing: the mean over all
    pairings is 0, exactly. With means over the whole date in place of the others' it would tell of the stock's own.
    """
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal(6), rng.standard_normal(6)
    centred, plain = [], []
    for order in permutations(range(1, 6)):
        shuffled = np.r_[v[0], v[list(order)]]
        centred.append(covariance(a, shuffled, 0))
        plain.append(((a - a.mean()) * (shuffled - v.mean()))[1:].sum())
    assert np.ptp(centred) > 1
    assert abs(np.mean(centred)) < 1e-13
    assert np.isclose(np.mean(plain), (a[0] - a.mean()) * (v[0] - v.mean()) / 5, rtol=1e-9)


def own_views(a, v):
    """What a model of one stock may read of (a, v), each (T, N): itself, raw and as cross-sections show it."""
    rank_a, rank_v = (x.argsort(1).argsort(1) / (x.shape[1] - 1) - 0.5 for x in (a, v))
    cs_a, cs_v = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (a, v))
    mean_a, mean_v = (x.mean(1, keepdims=True) for x in (a, v))
    return {
        "a": a, "v": v, "a v": a * v, "a a v": a * a * v, "a sign v": a * np.sign(v), "rank a": rank_a,
        "rank v": rank_v, "ranks": rank_a * rank_v, "a ranks": a * rank_a * rank_v, "cs": cs_a * cs_v,
        "a cs": a * cs_a * cs_v, "a means": a * mean_a * mean_v, "a centred": a * (a - mean_a) * (v - mean_v),
    }  # fmt: skip


def largest_t(views, truth):
    """The largest |t| over the views f of the daily means of f x truth: dates are independent, stocks are not."""
    daily = np.stack([(f * truth).mean(1) for f in views.values()])
    return (np.abs(daily.mean(1)) / daily.std(1) * np.sqrt(daily.shape[1])).max()


@pytest.mark.parametrize("seed", range(3))
def test_the_cross_stock_truth_hides_from_whoever_reads_one_stock(seed):
    """13 views of one stock, 3 seeds: |t| > 5.5 in one of 39 has chance 1.5e-6 (normal), and below 39 x 2 exp(-5.5^2 /
    2) = 2e-5 where the daily means are symmetric (Hoeffding's bound for self-normalised sums).
    """
    toy = synthetic.cross_stock(seed, bars=1500, symbols=8)
    panel, label, _ = samples(toy)
    z, v = (x[1:-2] for x in tags(panel))
    a, truth, label = np.tanh(z), toy.truth[1:-2], label[1:-2]
    views = own_views(a, v)
    assert largest_t(views, truth) < 5.5
    assert largest_t(views, label) < 5.5
    # Planted failures, at the same bar (they come out near 22, 25 and 10): the date's covariance tells all; one that
    # counts the stock itself shows to its own product; one around 0, not the others' means, to the date's means.
    n = a.shape[1]
    others = np.stack([[covariance(x, y, k) for k in range(n)] for x, y in zip(a, v, strict=True)])
    assert largest_t({"told": a * others}, truth) > 5.5
    assert largest_t(views, a * (a * v).sum(1, keepdims=True)) > 5.5
    assert largest_t(views, a * ((a * v).sum(1, keepdims=True) - a * v)) > 5.5


def test_the_inputs_of_the_cross_stock_market_tell_its_truth():
    """The expressions that a study is given are the two inputs, and IC is about 0.8 x strength on an average date.

    The daily mean has standard deviation about 0.31 over dates: 0.008 over 1,480, the bar is 5 of them: 6e-7.
    """
    from hitherto.features import library

    toy = synthetic.cross_stock(0)
    panel, label, ok = samples(toy)
    made = library.build(panel, {f"x{i}": text for i, text in enumerate(toy.inputs)}).values
    z, v = tags(panel)
    assert np.allclose(made[1:, :, 0], z[1:] * synthetic.SIGMA * np.sqrt(0.3), rtol=0, atol=1e-8)
    assert np.allclose(made[..., 1], 13 + 0.5 * v, rtol=1e-6)
    daily = [np.corrcoef(toy.truth[t], label[t])[0, 1] for t in np.flatnonzero(ok.all(1))]
    assert abs(np.mean(daily) - 0.8 * 0.4) < 5 * np.std(daily) / np.sqrt(len(daily)) + 0.02


def test_an_lstm_learns_the_nonlinear_truth():
    """Hidden 32, lookback 20, a few epochs: IC above 0.15 on unseen bars, where others get 0 +- 0.01."""
    import torch

    toy = synthetic.nonlinear(0)
    panel, label, ok = samples(toy)
    f = panel.fields
    night = np.zeros(panel.shape)
    night[1:] = (f["open"][1:] / f["close"][:-1] - 1) / 0.011
    t, n = np.nonzero(ok)
    windows = np.lib.stride_tricks.sliding_window_view(night, 20, axis=0)[t - 19, n].astype(np.float32)
    y = (label[ok] / label[ok].std()).astype(np.float32)
    fit = t < 1000
    x = torch.from_numpy(np.ascontiguousarray(windows.T)[..., None])
    target = torch.from_numpy(y)
    g = torch.Generator().manual_seed(0)
    lstm, head = torch.nn.LSTM(1, 32), torch.nn.Linear(32, 1)
    parameters = [*lstm.parameters(), *head.parameters()]
    for p in parameters:
        torch.nn.init.uniform_(p, -0.17, 0.17, generator=g)
    adam = torch.optim.Adam(parameters, 3e-3)
    rows = torch.from_numpy(np.flatnonzero(fit))
    for _ in range(4):
        for batch in rows[torch.randperm(len(rows), generator=g)].split(1024):
            adam.zero_grad()
            loss = ((head(lstm(x[:, batch])[0][-1])[:, 0] - target[batch]) ** 2).mean()
            loss.backward()
            adam.step()
    with torch.no_grad():
        forecast = head(lstm(x[:, ~fit])[0][-1])[:, 0].numpy()
    assert np.corrcoef(forecast, y[~fit])[0, 1] > 0.15


def test_noise_has_no_truth():
    """Autocorrelation of 44,900 independent returns: standard error 0.0047, bar 4.5 of them."""
    toy = synthetic.noise(0)
    assert (toy.truth == 0).all()
    close = from_bars(toy.bars).fields["close"]
    r = close[1:] / close[:-1] - 1
    for lag in (1, 2, 5):
        assert abs(np.corrcoef(r[lag:].ravel(), r[:-lag].ravel())[0, 1]) < 4.5 / np.sqrt(r[lag:].size)


@pytest.mark.parametrize("seed", range(3))
def test_events_are_where_the_marks_say(seed):
    toy = synthetic.events(seed)
    panel, marks = from_bars(toy.bars), toy.marks
    T, N = panel.shape
    number = {s: n for n, s in enumerate(panel.symbols)}
    halted = np.zeros((T, N), bool)
    for s, first, last in marks["halts"]:
        halted[first : last + 1, number[s]] = True
    assert np.array_equal(panel.suspended, halted)
    assert halted.sum() > 100
    assert np.isnan(panel.fields["close"][halted]).all()
    gone, born = marks["delisted"], marks["listed"]
    assert toy.bars.lifetimes[number[gone[0]]] == (0, gone[1])
    assert toy.bars.lifetimes[number[born[0]]] == (born[1], T - 1)
    assert np.array_equal(np.isfinite(toy.truth), panel.listed)
    assert not panel.missing.any()
    symbol, row = marks["split"]
    raw, n = panel.fields["close"], number[symbol]
    assert 0.4 < raw[row, n] / raw[row - 1, n] < 0.6
    assert 0.85 < panel.view("close")[row, n] / panel.view("close")[row - 1, n] < 1.15
    assert panel.fields["factor"][row, n] == 2


def test_events_keep_within_the_limits():
    toy = synthetic.events(0)
    panel = from_bars(toy.bars)
    f, outcome = panel.fields, Outcome(panel)
    before = np.vstack([np.full((1, panel.shape[1]), np.nan), outcome.last_known()[:-1]])
    reference = np.round(before / outcome.growth(), 2)
    high, low = np.round(reference * 1.1, 2), np.round(reference * 0.9, 2)
    known = np.isfinite(f["close"]) & np.isfinite(reference)
    for name in ("open", "high", "low", "close"):
        assert (f[name][known] <= high[known]).all()
        assert (f[name][known] >= low[known]).all()
    limits = toy.marks["limits"]
    assert np.array_equal((f["close"] == high)[known], (limits == 1)[known])
    assert np.array_equal((f["close"] == low)[known], (limits == -1)[known])
    assert min((limits == 1).sum(), (limits == -1).sum()) > 10
    assert ((f["high"] == f["low"]) & (limits != 0)).sum() > 3


@pytest.mark.parametrize("seed", range(2))
def test_reports_enter_when_published_and_not_before(seed):
    """Dated at the quarter's end they would forecast the jump of the publication; as published they do not."""
    toy = synthetic.events(seed)
    panel = from_bars(toy.bars)
    number = {s: n for n, s in enumerate(panel.symbols)}
    held, value, jump = [], [], []
    for s, end, published, v in toy.marks["reports"]:
        n = number[s]
        assert published == end + 20
        if not panel.listed[published, n] or not panel.listed[published - 1, n]:
            continue
        assert panel.fields["report"][published, n] == v
        held.append(panel.fields["report"][published - 1, n])
        last = Outcome(panel).last_known()
        value.append(v)
        jump.append(panel.view("close")[published, n] / (last * panel.fields["factor"])[published - 1, n] - 1)
    assert (np.array(held) != np.array(value)).all()
    # ~100 reports, correlation about 0.65: below 0.35 is more than 5 standard errors away.
    assert np.corrcoef(value, jump)[0, 1] > 0.35


@pytest.mark.parametrize(
    "call",
    [
        lambda: synthetic.linear(0, strength=0.9),
        lambda: synthetic.nonlinear(0, bars=10),
        lambda: synthetic.cross_stock(0, strength=0.7),
    ],
)
def test_impossible_toys(call):
    with pytest.raises(ConfigError, match=r"^toy market: bars >= \d+ and 0 < strength <= 0\.\d are needed, got"):
        call()


def test_a_cross_section_of_few_stocks_is_refused():
    with pytest.raises(ConfigError, match=r"^cross_stock: symbols >= 5 are needed, got 4$"):
        synthetic.cross_stock(0, symbols=4)
