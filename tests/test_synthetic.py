"""Toy markets: the planted truth is the conditional mean it claims to be."""

import numpy as np
import pytest

from hitherto.errors import ConfigError
from hitherto.labels import forward_return
from hitherto.market import synthetic
from hitherto.outcome import Outcome
from hitherto.panel import from_bars

MARKETS = {
    "noise": synthetic.noise, "linear": synthetic.linear, "nonlinear": synthetic.nonlinear, "events": synthetic.events,
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
@pytest.mark.parametrize(("name", "ic"), [("linear", 0.3), ("nonlinear", 0.4)])
def test_the_truth_is_the_conditional_mean(name, ic, seed):
    """Label = truth + independent noise: slope 1, IC as said.

    44,400 samples: the slope's standard error is sqrt(1 / ic^2 - 1) / 211 = 0.015 (linear) and 0.011; the bar is 4.5 of
    them, chance 7e-6 per case. The IC's is 0.0047; 4.5 of them, plus 15 % for the feedback of the truth on itself.
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


@pytest.mark.parametrize("call", [lambda: synthetic.linear(0, strength=0.9), lambda: synthetic.nonlinear(0, bars=10)])
def test_impossible_toys(call):
    with pytest.raises(ConfigError, match=r"^toy market: bars >= \d+ and 0 < strength <= 0\.\d are needed, got"):
        call()
