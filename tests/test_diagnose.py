import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kill_child import made_windows
from worlds import study_of

from hitherto.compute import Workers
from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Features
from hitherto.labels import Label
from hitherto.market import synthetic
from hitherto.models.base import Context
from hitherto.models.cross_stock import CrossStock
from hitherto.models.net import Standardised
from hitherto.models.recurrent import LSTM
from hitherto.panel import from_bars
from hitherto.seeds import Stream
from hitherto.study import Study
from hitherto.study.diagnosing import diagnose
from hitherto.train import losses
from hitherto.train.diagnose import Comparison, compare, find_rate, judge, measure_noise, measure_sharpness, read_rates
from hitherto.train.noise_scale import Meter, ratio, squared_norms, two_batch
from hitherto.train.sharpness import keskar, relative
from hitherto.train.stepper import Stepper, order, spread
from hitherto.windows import Windows

PLAIN = LSTM(hidden=4, lookback=5, batch=100, learning_rate=0.01, target="raw")
WIDE = dataclasses.replace(PLAIN, batch=200)


def raw(y, blocks):
    return y


def windows_of(x, y):
    """Windows of lookback 1 on x (T, N, F) and labels y (T, N)."""
    T, N = y.shape
    t = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], (T, N, 1))
    features = Features(x.astype(np.float32), tuple(f"f{i}" for i in range(x.shape[2])), (1,) * x.shape[2])
    return Windows(features, Label(y[:, :, None].astype(float), t + 1, t + 2, ("y",), (1,)), np.ones((T, N), bool), 1)


class Linear(torch.nn.Module):
    """w x + b on the last row."""

    def __init__(self, width, start=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((1, width), start))

    def forward(self, x, generator=None):
        return x[-1] @ self.weight.T


class Bias(torch.nn.Module):
    """One number for every sample."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor([float(value)]))

    def forward(self, x, generator=None):
        return self.value.expand(x.shape[1], 1)


def stepper(net, windows, settings=PLAIN, threads=1):
    return Stepper(net, windows, settings, raw, Workers(threads))


# -- the step is the loop's --------------------------------------------------------------------------------------------


def test_stepping_is_the_loop():
    train, valid = made_windows()
    settings = dataclasses.replace(PLAIN, epochs=2, weight_decay=0.01, clip=0.05)
    fitted = settings.fit(train, valid, rng=Stream(1), context=Context())
    net = settings.make(train.width, train.outputs, Stream(1))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    mine = stepper(net, train, settings)
    losses = []
    for epoch in range(2):
        for batch in train.batches(settings.batch, Stream(1).numpy("shuffle", epoch)):
            mine.step(mine.part(batch), settings.learning_rate, Stream(1))
        losses.append(mine.mean_loss([mine.part(b) for b in valid.batches(64)]))
    assert np.allclose([e["valid_loss"] for e in fitted.history.epochs], losses, rtol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "the net given has moved"


def test_orders_are_those_of_the_windows():
    train, _ = made_windows()
    groups = order(train, 50, np.random.default_rng(3))
    theirs = list(train.batches(50, np.random.default_rng(3)))
    assert [train.gather(g).x.tobytes() for g in groups] == [b.x.tobytes() for b in theirs]
    assert sorted(d for g in groups for d in g) == list(range(len(train.offsets) - 1))


def test_a_probe_is_spread_over_the_stretch():
    train, _ = made_windows(T=100)
    t = np.unique(spread(train, 120).t)
    assert len(t) == 10
    assert t[0] == train.index[0, 0]
    assert t[-1] == train.index[-1, 0]


def test_the_gradient_is_the_slope_of_the_loss():
    train, _ = made_windows(T=20)
    net = PLAIN.make(train.width, train.outputs, Stream(0))
    mine = stepper(net, train)
    f = mine.function([mine.part(spread(train, 60)), mine.part(train.gather([1, 2]))])
    w = mine.weights()
    along = np.random.default_rng(0).standard_normal(len(w))
    value, slope = f(w)
    h = 1e-3
    central = (f(w + h * along)[0] - f(w - h * along)[0]) / (2 * h)
    assert np.isclose(central, slope @ along, rtol=1e-3)
    assert np.isclose(
        value, stepper(net, train).mean_loss([mine.part(spread(train, 60)), mine.part(train.gather([1, 2]))])
    )


# -- noise scale -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1e3), st.floats(0, 1e3))
def test_two_batches_solve_the_two_equations(small, more, signal, noise):
    big = small + more
    found = two_batch(signal + noise / small, signal + noise / big, small, big)
    assert np.allclose(found, (signal, noise), rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_known_noise_is_found(seed):
    """|G|^2 = 1, tr(Sigma) = 20, 8 groups of 2 units, 4,000 rounds.

    With S = Sigma / 2 = I / 4 (40 dimensions) one round's |G|^2 has variance 4 G'SG / 8 + 2 tr(S^2) / 56 = .125 + .089,
    so the mean of all has relative error sqrt(.214 / 4000) = .0073; that of tr(Sigma) is .0015. A bar of 4 % is over
    5 deviations: chance below 1e-6 for five seeds.
    """
    g = np.random.default_rng(seed)
    mean = np.full(40, 1 / math.sqrt(40))
    meter = Meter()
    for _ in range(4000):
        groups = mean + g.normal(0, math.sqrt(0.5 / 2), (8, 40))
        meter.add(
            *two_batch(*squared_norms([[torch.from_numpy(v[:15]), torch.from_numpy(v[15:])] for v in groups]), 2, 16)
        )
    found = meter.scale()
    assert abs(found.value / 20 - 1) < 0.04
    assert abs(found.signal - 1) < 0.04
    assert found.low < found.value < found.high < 1.1 * found.value
    # the moving average sees about 39 rounds: relative deviation sqrt(.214 / 39) = .074; five of those
    assert abs(meter.smooth[-1] / 20 - 1) < 0.6


def test_intervals_hold_the_truth():
    """200 intervals at 95 %: 179 or fewer hits have a chance of 0.1 % at exactly 95 % (binomial)."""
    hits = 0
    for seed in range(200):
        g = np.random.default_rng(seed)
        a = g.normal(size=40)
        found = ratio(20 + 5 * a, 1 + 0.5 * g.normal(size=40) + 0.5 * a)
        hits += found.low <= 20 <= found.high
    assert hits >= 180


def test_without_a_signal_there_is_no_upper_end():
    """At |G| = 0 an upper end appears with a chance of 2.5 %: 11 or more of 100 with one below 0.01 %."""
    found = [ratio(20 + g.normal(size=50), g.normal(size=50)) for g in map(np.random.default_rng, range(100))]
    assert sum(f.high == math.inf for f in found) >= 90
    assert all(f.low < f.value for f in found)
    few = ratio(np.ones(9), np.ones(9))
    assert few.value == 1
    assert math.isnan(few.low)
    assert math.isnan(few.high)


def shocked(shared, own, T=2000, N=10, seed=0):
    """Labels with a shock per date and one per sample; all inputs are 1."""
    g = np.random.default_rng(seed)
    y = shared * g.standard_normal((T, 1)) + own * g.standard_normal((T, N))
    return windows_of(np.ones((T, N, 1)), y - y.mean())


def test_a_shared_shock_makes_the_naive_figure_too_small():
    """One bias b = 0.5 and squared error: a date's gradient is 2 (b - mean of y), a sample's 2 (b - y): closed form.

    |G|^2 = 1; tr(Sigma) by dates = 4 (.25 + 1 / 10) = 1.4, by samples 4 (.25 + 1) = 5. 150 rounds of 8 groups of 2
    dates: the mean of |G|^2 has deviation 2 sqrt(1.4 / 2400) = .048, tr by dates sqrt(2 / 7 / 150) = .044 of itself, tr
    by samples 2 sqrt((4 (2.5) + 2 (2.5)^2) / 8 / 150) / 5 = .055. So ratios .065 and .073; 30 % is over 4 of them.
    """
    windows = shocked(0.5, 1.0)
    found = measure_noise(stepper(Bias(0.5), windows, WIDE), windows, rng=Stream(0), steps=300, rate=0.0)
    y = windows.label.values[:, :, 0]
    exact_date, exact_sample = 4 * y.mean(1).var(), 4 * y.var()
    assert found.naive is not None
    assert found.names == 10
    assert abs(found.dates.value / exact_date - 1) < 0.3
    assert abs(found.naive.value / exact_sample - 1) < 0.3
    assert abs(found.effect / (10 * exact_date / exact_sample) - 1) < 0.3
    assert found.effect > 2
    assert [s for s, _ in found.curve] == list(range(30, 301, 30))


def test_targets_centred_by_date_make_the_naive_figure_too_large():
    windows = shocked(0.0, 1.0)
    y = windows.label.values
    centred = dataclasses.replace(windows.label, values=y - y.mean(1, keepdims=True))
    windows = windows.with_(label=centred)
    found = measure_noise(stepper(Bias(0.5), windows, WIDE), windows, rng=Stream(0), steps=100, rate=0.0)
    assert found.dates.value < 1e-9
    assert abs(found.naive.value / (4 * y.var()) - 1) < 0.5  # 50 rounds: a deviation of .1, as above


def test_noise_is_measured_along_training_and_repeats():
    train, _ = made_windows()
    net = PLAIN.make(train.width, train.outputs, Stream(0))
    same = []
    for threads in (1, 1, 2):
        with Workers(threads) as workers:
            mine = Stepper(net, train, PLAIN, raw, workers)
            same.append(measure_noise(mine, train, rng=Stream(0), steps=12))
            assert not np.array_equal(mine.weights(), stepper(net, train).weights())
    assert same[0] == same[1] == same[2]
    assert same[0] != measure_noise(stepper(net, train), train, rng=Stream(1), steps=12)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "ic", "rank", "quantile", "cross_entropy"])
def test_every_loss_and_a_net_over_dates(loss):
    """Names with unknown labels take part as inputs; the figures are finite and repeat."""
    train, _ = made_windows(T=20)
    y = train.label.values.copy()
    y[:, 3] = np.nan
    train = train.with_(label=dataclasses.replace(train.label, values=y), labelled=False)
    target = "cs_rank" if loss == "cross_entropy" else "cs_zscore"
    net = CrossStock(hidden=8, heads=2, feedforward=8, lookback=5, batch=30, loss=loss, target=target)
    module = net.make(train.width, losses.make(net, train.outputs).columns, Stream(0))
    mine = [Stepper(module, train, net, Standardised(net.target), Workers(1)) for _ in range(2)]
    first, second = (measure_noise(s, train, rng=Stream(0), steps=4) for s in mine)
    assert first == second
    assert math.isfinite(first.dates.noise)
    assert (first.naive is None) == (loss in ("ic", "rank"))
    assert first.names == 12


def test_losses_over_dates_have_no_naive_figure():
    train, _ = made_windows()
    settings = dataclasses.replace(PLAIN, loss="ic", batch=1)
    net = settings.make(train.width, train.outputs, Stream(0))
    found = measure_noise(stepper(net, train, settings), train, rng=Stream(0), steps=12)
    assert found.naive is None
    assert found.effect is None
    assert found.batch == 2


def test_one_date_is_refused():
    train, _ = made_windows(T=6, lag=1, valid=1)
    with pytest.raises(
        DataError, match=r"^noise scale: needs at least two train dates, got 1; lengthen the train stretch.$"
    ):
        measure_noise(stepper(Linear(3), train), train, rng=Stream(0))


# -- rate finder -------------------------------------------------------------------------------------------------------


def test_the_suggested_rate_is_below_the_stability_limit():
    """Gradient descent with momentum .9 on a quadratic diverges above 2 (1 + .9) / lambda, lambda of the Hessian."""
    g = np.random.default_rng(0)
    x = g.standard_normal((40, 20, 4)) * np.array([3.0, 1.0, 1.0, 1.0])
    windows = windows_of(x, x @ np.ones(4))
    flat = x.reshape(-1, 4)
    limit = 2 * 1.9 / np.linalg.eigvalsh(2 * flat.T @ flat / len(flat)).max()
    settings = dataclasses.replace(PLAIN, optimiser="sgd", clip=1e9, batch=800)
    net = Linear(4)
    found = find_rate(stepper(net, windows, settings), windows, rng=Stream(0), low=1e-6, high=3.0, steps=200)
    assert found.trouble == ""
    assert found.suggested is not None
    assert found.exploded is not None
    assert limit / 1000 < found.suggested < limit < found.exploded
    assert found == find_rate(stepper(net, windows, settings), windows, rng=Stream(0), low=1e-6, high=3.0, steps=200)
    assert net.weight.abs().max() == 0


def test_no_rate_is_suggested_where_nothing_can_be_learnt():
    g = np.random.default_rng(0)
    x = g.standard_normal((60, 20, 3))
    windows = windows_of(x, np.where(g.random((60, 20)) < 0.5, -1.0, 1.0))
    windows = windows.with_(label=dataclasses.replace(windows.label, values=windows.label.values * 0))
    found = find_rate(stepper(Linear(3), windows), windows, rng=Stream(0), steps=40)  # the first weights are the best
    assert found.suggested is None
    assert found.trouble.startswith("the loss never falls: 0 at the start")


def curve(fall_at=30, depth=0.5, noise=0.0, explode=80, steps=100):
    i = np.arange(steps)
    drop = depth / (1 + np.exp(-(i - fall_at) / 4.0))
    rise = np.where(i > explode, 0.2 * (i - explode), 0.0)
    return 1 - drop + rise + noise * np.random.default_rng(0).standard_normal(steps)


def test_a_curve_is_read():
    rates = list(np.geomspace(1e-6, 1, 100))
    found = read_rates(rates, list(curve()), 1.0)
    assert found.trouble == ""
    assert found.suggested == pytest.approx(rates[30], rel=0.4)  # two steps of 15 % either way
    assert rates[80] < found.exploded < rates[86]
    assert found.suggested < found.lowest < found.exploded


def test_a_late_fall_is_held_below_the_explosion():
    rates = list(np.geomspace(1e-6, 1, 100))
    found = read_rates(rates, list(curve(fall_at=74, explode=80)), 1.0)
    assert found.suggested == pytest.approx(found.exploded / 10)


def test_curves_without_a_shape():
    rates = list(np.geomspace(1e-6, 1, 100))
    noisy = read_rates(rates, list(curve(depth=0.01, noise=0.02)), 1.0)
    assert noisy.suggested is None
    assert "which its own roughness" in noisy.trouble
    rising = read_rates(rates, list(1 + np.linspace(0, 1, 100) ** 2), 1.0)
    assert rising.suggested is None
    assert rising.trouble == "the loss never falls: 1 at the start, 1 at best"
    short = read_rates(rates[:4], [1.0, 2.0, 3.0, 5.0], 1.0)
    assert short.trouble == (
        "the loss exploded within 4 steps; look at the inputs' scale and the lower end of the rates"
    )
    still = read_rates(rates, list(curve(fall_at=98, explode=200)), 1.0)
    assert still.trouble == "the loss still falls at the largest rate tried; the suggestion is a lower bound"
    assert still.suggested is not None
    assert still.exploded is None


def test_bad_ranges_of_rates():
    train, _ = made_windows()
    with pytest.raises(ConfigError, match=r"^rate finder: needs 0 < low < high and steps >= 20, got 1, 0.1, 40.$"):
        find_rate(stepper(Linear(3), train), train, rng=Stream(0), low=1.0, high=0.1, steps=40)


# -- batch sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "updates", "verdict"),
    [
        ((1.0, -0.5, 2.5), (0.0, -1.0, 1.0), "no gap"),
        ((-1.0, -1.5, -0.5), (0.0, -1.0, 1.0), "large is better"),
        ((1.0, 0.5, 1.5), (0.0, -0.1, 0.1), "too few updates"),
        ((1.0, 0.5, 1.5), (-0.5, -0.6, -0.4), "too few updates"),
        ((1.0, 0.5, 1.5), (0.3, 0.2, 0.4), "partly"),
        ((1.0, 0.5, 1.5), (1.0, 0.5, 1.5), "generalisation"),
        ((1.0, 0.5, 1.5), (0.3, -1.0, 1.6), "cannot tell"),
    ],
)
def test_verdicts(epochs, updates, verdict):
    assert judge(epochs, updates) == verdict


def regression(T=120, N=10, noise=0.1, seed=0):
    g = np.random.default_rng(seed)
    x = g.standard_normal((T, N, 3))
    windows = windows_of(x, x @ np.array([1.0, -1.0, 0.5]) + noise * g.standard_normal((T, N)))
    late = np.zeros((T, N), bool)
    late[-30:] = True
    return windows.with_(mask=~late), windows.with_(mask=late)


def test_too_few_updates_are_named():
    """A linear net: one optimum, so whatever a large batch lacks at equal epochs is updates."""
    train, valid = regression()
    settings = dataclasses.replace(PLAIN, optimiser="sgd", learning_rate=0.01)

    def make(seed):
        return stepper(Linear(3, start=0.01 * seed), train, settings)

    found = compare(make, train, valid, rng=Stream(0), sizes=(20, 450), epochs=2, seeds=2)
    assert found.verdict == "too few updates"
    by = {(r.batch, r.regime): r for r in found.runs}
    assert [by[k].updates for k in ((20, "epochs"), (450, "epochs"), (20, "updates"), (450, "updates"))] == [
        90,
        4,
        90,
        90,
    ]
    assert by[450, "updates"].epochs == 45
    assert by[450, "epochs"].valid_loss[0] > 10 * by[20, "epochs"].valid_loss[0]
    assert by[20, "epochs"].valid_loss == by[20, "updates"].valid_loss
    assert max(by[450, "updates"].valid_loss) == pytest.approx(0.01, rel=0.3)  # the noise's variance
    assert sorted(found.weights) == [(b, k) for b in (20, 450) for k in range(2)]


def test_the_gap_is_paired_over_seeds():
    train, valid = regression()
    found = compare(
        lambda k: stepper(Linear(3), train), train, valid, rng=Stream(0), sizes=(50, 200), epochs=1, seeds=2
    )
    again = compare(
        lambda k: stepper(Linear(3), train), train, valid, rng=Stream(0), sizes=(50, 200), epochs=1, seeds=2
    )
    assert again == found
    runs = tuple(dataclasses.replace(r, valid_loss=(1.0, 2.0) if r.batch == 50 else (1.2, 2.4)) for r in found.runs)
    mean, low, high = Comparison(runs, 0.1).gap("epochs")
    assert mean == pytest.approx(0.3)
    assert high - mean == pytest.approx(12.706 * np.std([0.2, 0.4], ddof=1) / math.sqrt(2))
    assert low == pytest.approx(2 * mean - high)


def test_a_run_that_diverges_is_named():
    train, valid = regression()
    settings = dataclasses.replace(PLAIN, optimiser="sgd", learning_rate=1e9, clip=1e9)
    found = compare(
        lambda k: stepper(Linear(3), train, settings), train, valid, rng=Stream(0), sizes=(50, 200), epochs=2, seeds=2
    )
    assert found.verdict == "diverged"
    assert found.weights == {}


def test_comparisons_refuse_what_they_cannot_compare():
    train, valid = regression()
    with pytest.raises(
        ConfigError, match=r"^compare: needs two sizes, 2 to 10 seeds, one epoch or more; got \[8\], 3, 3.$"
    ):
        compare(lambda k: stepper(Linear(3), train), train, valid, rng=Stream(0), sizes=(8, 8))
    none = valid.with_(mask=np.zeros_like(valid.mask))
    with pytest.raises(DataError, match=r"^compare: 900 train and 0 validation samples; both stretches need some.$"):
        compare(lambda k: stepper(Linear(3), train), train, none, rng=Stream(0), sizes=(8, 80))


# -- sharpness ---------------------------------------------------------------------------------------------------------


def quadratic(n, seed):
    g = np.random.default_rng(seed)
    m = g.standard_normal((n, max(n // 2, 1)))
    H = m @ m.T + np.diag(3 * g.random(n)) * (seed % 2)
    return H, g.standard_normal(n) * (seed % 3), g


def corners(H, x, directions, radius):
    """The oracle: a convex function is largest in a corner of a box; all of them are tried."""
    p = len(radius)
    at = x + (np.array(list(itertools.product([-1.0, 1.0], repeat=p))) * radius) @ directions.T
    return 0.5 * np.einsum("ij,jk,ik->i", at, H, at).max()


@pytest.mark.parametrize("n", [1, 2, 6, 10])
def test_keskar_is_exact_on_quadratics(n):
    for seed in range(12):
        H, x, g = quadratic(n, seed)
        value = 0.5 * x @ H @ x
        worst = corners(H, x, np.eye(n), 1e-2 * (np.abs(x) + 1))
        found = keskar(lambda w, H=H: (0.5 * w @ H @ w, H @ w), x, 1e-2, rng=g, starts=8)
        want = 100 * (worst - value) / (1 + value)
        assert 0.99 * want <= found.phi <= want * (1 + 1e-9)
        assert found.loss == pytest.approx(value)
        assert found.epsilon == 1e-2


def test_keskar_in_a_random_subspace():
    for seed in range(6):
        H, x, g = quadratic(30, seed)
        A = g.standard_normal((30, 8))
        radius = 1e-3 * (np.abs(np.linalg.pinv(A) @ x) + 1)
        worst, value = corners(H, x, A, radius), 0.5 * x @ H @ x
        found = keskar(lambda w, H=H: (0.5 * w @ H @ w, H @ w), x, 1e-3, rng=g, directions=A, starts=8)
        assert found.phi == pytest.approx(100 * (worst - value) / (1 + value), rel=0.01)


def test_relative_is_exact_on_quadratics():
    for seed in (1, 2, 4, 5):
        H, x, g = quadratic(8, seed)
        x[3] = 0.0
        worst, value = corners(H, x, np.eye(8), 0.05 * np.abs(x)), 0.5 * x @ H @ x
        found = relative(lambda w, H=H: (0.5 * w @ H @ w, H @ w), x, 0.05, rng=g, starts=8)
        assert found.phi == pytest.approx(100 * (worst - value) / (1 + value), rel=0.01)


class Relu(torch.nn.Module):
    """Two layers; ``rescale`` multiplies the first by c and divides the second by it: the same function."""

    def __init__(self, width):
        super().__init__()
        g = Stream(0).torch("relu")
        self.first = torch.nn.Parameter(torch.randn(16, width, generator=g) / 2)
        self.bias = torch.nn.Parameter(torch.randn(16, generator=g) / 2)
        self.second = torch.nn.Parameter(torch.randn(1, 16, generator=g) / 4)

    def forward(self, x, generator=None):
        return torch.relu(x[-1] @ self.first.T + self.bias) @ self.second.T

    @torch.no_grad()
    def rescale(self, c):
        self.first.mul_(c)
        self.bias.mul_(c)
        self.second.div_(c)
        return self


def test_rescaling_changes_keskar_but_not_the_relative_kind():
    """Dinh et al. 2017, planted; a factor of 2^5 is exact in float32, so the invariant must hold to rounding."""
    train, _ = regression()
    found = []
    for c in (1.0, 32.0):
        mine = stepper(Relu(3).rescale(c), train)
        weights = {(64, 0): mine.weights()}
        found.append(measure_sharpness(mine, train, weights, rng=Stream(0))[0])
    a, b = found
    assert a.keskar[0].loss == b.keskar[0].loss
    assert b.keskar[0].phi > 3 * a.keskar[0].phi
    assert b.relative[0].phi == pytest.approx(a.relative[0].phi, rel=1e-3)
    assert a.relative[0].phi > 0
    assert a.batch == 64


def test_sharpness_refuses():
    g = np.random.default_rng(0)
    with pytest.raises(
        ConfigError, match=r"^sharpness: epsilon must lie in \(0, 1\), got 0; Keskar et al. use 0.0005 and 0.001.$"
    ):
        keskar(lambda w: (0.0, w), np.ones(2), 0, rng=g)
    with pytest.raises(
        DataError, match=r"^sharpness: 1 \+ loss must be above 0, the loss is -1.5; this loss has no such scale.$"
    ):
        keskar(lambda w: (-1.5, 0 * w), np.ones(2), 0.1, rng=g)
    with pytest.raises(DataError, match=r"^sharpness: the loss is nan near these weights; use a smaller epsilon.$"):
        relative(lambda w: (math.nan, w), np.ones(2), 0.1, rng=g)


# -- a study -----------------------------------------------------------------------------------------------------------

NET = LSTM(hidden=4, lookback=3, batch=64, name="small")


def small_study(bars=None, **changes):
    toy = synthetic.linear(0, bars=620, symbols=8, strength=0.3)
    toy = toy if bars is None else dataclasses.replace(toy, bars=bars)
    split = {"train": 300, "valid": 100, "test": 100, "folds": 1, "mode": "rolling"}
    return study_of(toy, [NET], split=split, **changes)


@pytest.fixture(scope="module")
def diagnosis():
    return diagnose(small_study(), quick=True)


def test_the_text_has_four_parts_each_with_advice(diagnosis):
    text = diagnosis.to_text()
    assert text.startswith("small of ")
    parts = ["learning rate", "gradient noise scale", "batch sizes at rate", "sharpness after"]
    at = [text.index(f"\n{p}") for p in parts]
    assert at == sorted(at)
    assert text.count("\n  advice: ") == 4
    assert len(text.splitlines()) < 30
    assert "205.14" not in text


def test_the_json_holds_every_number(diagnosis):
    body = json.loads(diagnosis.to_json())
    assert body["model"] == "small"
    assert body["compare"]["verdict"] == diagnosis.compare.verdict
    assert body["noise"]["dates"]["value"] == diagnosis.noise.dates.value
    assert len(body["rates"]["rates"]) == len(diagnosis.rates.rates)
    assert [s["batch"] for s in body["sharpness"]] == [64, 256]
    assert len(body["sharpness"][0]["keskar"]) == 1


def test_the_test_stretch_is_never_read(diagnosis):
    """Other prices from the fifth test bar on change no digit, and the same study gives the same digits."""
    study = small_study()
    first = int(np.flatnonzero(study.prepare().folds[0].test.any(axis=1))[0]) + 5
    bars = synthetic.linear(0, bars=620, symbols=8, strength=0.3).bars
    late = bars.row >= first
    assert late.any()
    wild = np.where(late, np.random.default_rng(0).uniform(0.5, 2.0, len(late)), 1.0)
    values = {k: v if k == "volume" else v * wild for k, v in bars.values.items()}
    other = diagnose(small_study(dataclasses.replace(bars, values=values)), quick=True)
    assert other.to_json() == diagnosis.to_json()


def test_only_nets_can_be_diagnosed():
    text = "^diagnose: asked for 'ridge'; what can be diagnosed is a net, here: small$"
    with pytest.raises(ConfigError, match=text):
        diagnose(small_study(), model="ridge")
    none = Study(
        from_bars(synthetic.noise(0, bars=620, symbols=8).bars),
        models=[{"kind": "ridge"}],
        features={"set": "close_only"},
    )
    text = "^diagnose: asked for a study without a net; what can be diagnosed is a net, here: none; add one"
    with pytest.raises(ConfigError, match=text):
        diagnose(none)
