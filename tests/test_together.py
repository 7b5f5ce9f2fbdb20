import dataclasses
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kill_child import made_windows

from hitherto import compute
from hitherto.errors import ConfigError, DataError
from hitherto.models.alstm import ALSTM
from hitherto.models.base import Context
from hitherto.models.cross_stock import CrossStock
from hitherto.models.gated import GRU, RNN
from hitherto.models.mlp import MLP
from hitherto.models.net import Standardised
from hitherto.models.recurrent import LSTM
from hitherto.models.scan import MinGRU
from hitherto.models.tcn import TCN
from hitherto.models.transformer import Transformer
from hitherto.seeds import Stream
from hitherto.train import loop, losses, pieces, stacked, stacked_fit
from hitherto.train.stacked import Job, can_stack, fit_stacked, predict_stacked
from hitherto.train.stacked_nets import LstmSteps
from hitherto.train.together import each_on_one

SHARED = {"lookback": 5, "epochs": 2, "batch": 150, "learning_rate": 0.01, "dropout": 0.2}
BASE = LSTM(hidden=8, layers=2, **SHARED)
has = dataclasses.replace
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


def made(models, names=30, dates=30, lag=3):
    """One job a model: folds of different lengths, data and seeds; 150 samples are two pieces of the loop on a CPU."""
    out = []
    for k, m in enumerate(models):
        train, valid = made_windows(T=dates + 7 * k, N=names, seed=k, lag=lag)
        columns = losses.make(m, train.outputs).columns
        out.append(Job(m.make(train.width, columns, Stream(k)), train, valid, m, Stream(k), Standardised(m.target)))
    return out


def one_by_one(jobs, device="cpu"):
    return [
        loop.fit(j.net, j.train, j.valid, j.settings, rng=j.rng, context=Context(device=device), target=j.target)
        for j in jobs
    ]


def weights(jobs):
    return [torch.cat([p.detach().cpu().flatten() for p in j.net.parameters()]) for j in jobs]


def close(models, limit=1e-5, device="cpu", **sizes):
    """Train both ways; return both lots of histories."""
    ours, theirs = made(models, **sizes), made(models, **sizes)
    before = weights(ours)
    here, there = fit_stacked(ours, device=device), one_by_one(theirs)
    for k, (a, b) in enumerate(zip(weights(ours), weights(theirs), strict=True)):
        assert (a - b).abs().max() < limit, k
        assert (a - before[k]).abs().max() > 1e-3
    for a, b in zip(here, there, strict=True):
        assert (a.best_epoch, a.stopped, len(a.epochs)) == (b.best_epoch, b.stopped, len(b.epochs))
        for x, y in zip(a.epochs, b.epochs, strict=True):
            assert (x["epoch"], x["rate"]) == (y["epoch"], y["rate"])
            assert np.isclose(x["train_loss"], y["train_loss"], rtol=max(limit, 1e-5))
            assert np.isclose(x["valid_loss"], y["valid_loss"], rtol=max(limit, 1e-5))
    return here


# -- the same numbers as one by one -----------------------------------------------------------------------------------


def test_folds_seeds_and_settings_train_together_as_one_by_one():
    """Two pieces a batch, two layers, dropout; fits of different lengths, and noise to forecast, so that one stops."""
    histories = close([
        has(BASE, epochs=4),
        has(BASE, epochs=3, learning_rate=0.02, clip=0.1, warmup=3),
        has(BASE, epochs=5, patience=2, dropout=0.0, weight_decay=0.1, schedule="cosine"),
        has(BASE, epochs=3, batch=100, dropout=0.4, schedule="halving", halve_every=2),
    ], lag=8)  # fmt: skip
    assert histories[2].stopped == "no better validation loss for 2 epochs"
    assert [len(h.epochs) for h in histories] == [4, 3, 3, 3]


@pytest.mark.parametrize(
    "model",
    [
        LSTM(hidden=8, **SHARED), GRU(hidden=8, layers=2, **SHARED), RNN(hidden=8, **SHARED),
        MLP(hidden=(16, 8), **SHARED), TCN(channels=(8, 8), **SHARED),
        Transformer(hidden=8, heads=2, layers=1, feedforward=16, **SHARED),
    ],
    ids=lambda m: m.name,
)  # fmt: skip
def test_every_kind_that_can_be_stacked_agrees(model):
    close([model, has(model, learning_rate=0.003)], dates=20)


@pytest.mark.parametrize(
    ("loss", "target"),
    [("mae", "raw"), ("huber", "raw"), ("quantile", "cs_zscore"), ("cross_entropy", "cs_rank")],
)
def test_every_loss_of_samples_agrees(loss, target):
    model = LSTM(hidden=8, loss=loss, target=target, optimiser="sgd", **{**SHARED, "learning_rate": 0.1})
    close([model, model], dates=20)


def test_plateau_halves_the_rate_of_its_own_fit_only():
    """Noise to forecast: a validation loss that does not improve."""
    plateau = has(BASE, layers=1, schedule="plateau", halve_every=1, epochs=6, learning_rate=0.05, patience=9)
    histories = close([plateau, has(plateau, schedule="constant")], dates=22, lag=8)
    assert histories[0].epochs[-1]["rate"] < 0.05 == histories[1].epochs[-1]["rate"]


def test_without_validation_the_last_epoch_is_kept():
    jobs = [has(j, valid=j.train.with_(mask=np.zeros_like(j.train.mask))) for j in made([BASE, BASE], dates=20)]
    histories = fit_stacked(jobs)
    assert [(h.best_epoch, h.best_loss, h.epochs[0]["valid_loss"]) for h in histories] == [(1, None, None)] * 2


def test_the_same_jobs_give_the_same_bits():
    first, second = made([BASE, BASE], dates=20), made([BASE, BASE], dates=20)
    assert fit_stacked(first) == fit_stacked(second)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_predictions_agree_with_those_of_one_net():
    jobs = made([BASE, BASE, BASE])
    windows = [j.valid.with_(labelled=False) for j in jobs]
    for job, w, ours in zip(jobs, windows, predict_stacked([j.net for j in jobs], windows), strict=True):
        assert np.abs(ours - pieces.predict(job.net, w)).max() < 1e-6
        assert ours.shape == (len(w), 2)


def test_adjoint_of_the_time_loop():
    g = torch.randn(2, 4, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    u = torch.randn(2, 8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(LstmSteps.apply, (g, u))
    assert torch.autograd.gradcheck(lambda a, b: LstmSteps.apply(a[:, :1], b), (g, u))


# -- masks and what goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_masked_fit_does_not_move_by_a_bit_and_disturbs_none(optimiser):
    """Fit 0 stopped, its weights NaN at worst; fit 1 must take the very steps that it takes beside a sane 0."""
    rows = []
    for spoil in (False, True):
        jobs = made([has(BASE, optimiser=optimiser)] * 3, dates=20)
        fits = [stacked_fit.Fit(k, j, None, lambda event: None) for k, j in enumerate(jobs)]
        with compute.Workers(1) as workers:
            stack = stacked._Stack(fits, "cpu", workers)
            stack.run_epoch()
            fits[0].stopped = "for this test"
            if spoil:
                stack.state["weights"][0] = torch.nan
            before = {name: t.clone() for name, t in stack.state.items()}
            stack.run_epoch()
        for name, t in stack.state.items():
            assert t[0].numpy().tobytes() == before[name][0].numpy().tobytes(), name
            if name in ("weights", "mean"):
                assert not torch.equal(t[1], before[name][1])
        rows.append(stack.state["weights"][1:])
    assert torch.equal(*rows)


def test_a_fit_that_explodes_is_trained_anew_by_the_loop(monkeypatch):
    """Its numbers are the loop's own, bit for bit; the others stay in the stack."""
    watch = stacked_fit.Fit.watch

    def spoilt(self, mean, norm, step):
        watch(self, torch.inf if self.number == 1 and len(self.epochs) == 1 else mean, norm, step)

    monkeypatch.setattr(stacked_fit.Fit, "watch", spoilt)
    ours, theirs, events = made([BASE] * 3, dates=20), made([BASE] * 3, dates=20), []
    here, there = fit_stacked(ours, emit=events.append), one_by_one(theirs)
    assert here[1] == there[1]
    assert torch.equal(weights(ours)[1], weights(theirs)[1])
    assert (weights(ours)[2] - weights(theirs)[2]).abs().max() < 1e-5
    assert [e["fit"] for e in events if e["event"] == "alone"] == [1]
    assert "loss inf, gradient norm" in next(e["cause"] for e in events if e["event"] == "alone")
    assert sorted(e["fit"] for e in events if e["event"] == "stop") == [0, 1, 2]


def test_an_explosion_is_known_by_the_rule_of_the_loop():
    for mean, norm, bad in [(1.0, 1.0, False), (2e4, 1.0, True), (torch.nan, 1.0, True), (1.0, torch.inf, True)]:
        fit = stacked_fit.Fit(0, made([BASE], dates=20)[0], None, lambda event: None)
        fit.watch(1.0, 1.0, 0)
        fit.watch(mean, norm, 1)
        assert bool(fit.exploded) == bad


def test_jobs_that_cannot_be_stacked_say_why():
    def reason(models, change=lambda jobs: jobs):
        return can_stack(change(made(models, dates=20)))

    assert reason([BASE, has(BASE, learning_rate=0.1, dropout=0.0, batch=70)]) == ""
    assert can_stack([]) == "there is no job"
    assert reason([BASE, has(BASE, hidden=16)]) == "the nets have weights of different shapes"
    assert reason([BASE, has(BASE, loss="ic")]) == "loss 'ic' couples the names of a date"
    assert reason([BASE, has(BASE, loss="mae")]) == "the losses or the numbers of outputs differ"
    assert reason([BASE, has(BASE, optimiser="sgd")]) == "the optimisers differ"
    assert reason([has(BASE, cpu_seconds=1.0)]) == "cpu_seconds is a budget of one fit alone"
    assert reason([CrossStock(hidden=8, heads=2, feedforward=16, lookback=5)]).startswith("a net of unit 'date'")
    assert reason([ALSTM(hidden=8, lookback=5)]) == "Attentive has a recurrent cell among other layers"
    assert reason([MinGRU(hidden=8, lookback=5)]).startswith("torch.func.vmap cannot take Minimal (")
    mlp = MLP(hidden=(8,), lookback=5, dropout=0.2)
    assert reason([mlp, has(mlp, dropout=0.3)]).startswith("the nets have different settings")
    shorter = lambda jobs: [jobs[0], has(jobs[1], train=jobs[1].train.with_(lookback=4))]  # noqa: E731
    assert reason([BASE, BASE], shorter) == "the windows differ in lookback or inputs"
    with pytest.raises(ConfigError, match=r"^train: these fits cannot be stacked: the optimisers differ; fit them one"):
        fit_stacked(made([BASE, has(BASE, optimiser="sgd")], dates=20))


def test_a_net_whose_twin_gives_other_numbers_is_refused():
    """It looks like a stack of cells with a head and is none."""
    jobs = made([BASE], dates=20)
    forward = jobs[0].net.forward
    jobs[0].net.forward = lambda x, generator=None: forward(x, generator) + 0.01
    assert can_stack(jobs) == "the stacked twin of LastStep gives other numbers than the net"


def test_bad_data_is_refused_as_by_the_loop():
    jobs = made([has(BASE, target="raw")] * 2, dates=20)
    jobs[1].train.label.values[12, 3] = np.inf
    with pytest.raises(DataError, match=r"^train: labels at rows .* hold NaN or inf; check the prices there\.$"):
        fit_stacked([jobs[0], has(jobs[1], train=jobs[1].train.with_(labelled=False))])
    with pytest.raises(DataError, match=r"^train: no sample is left of 0 asked for"):
        fit_stacked([has(j, train=j.train.with_(mask=np.zeros_like(j.train.mask))) for j in jobs])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 30), st.integers(0, 99))
def test_no_batch_is_larger_than_the_fixed_shape(sizes, size, seed):
    train, _ = made_windows(T=20, N=9)
    mask = np.zeros_like(train.mask)
    for t, n in enumerate(sizes):
        mask[6 + t, :n] = True
    windows = train.with_(mask=mask)
    seen = [len(b.t) for b in windows.batches(size, np.random.default_rng(seed))]
    assert max(seen, default=0) <= stacked.most_rows(windows, size) <= max(len(windows), 1)


# -- one fit on each thread -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fits_on_threads_are_the_bits_of_one_by_one(threads):
    jobs = made([BASE] * 3, dates=20)

    def one(job, check):
        assert torch.get_num_threads() == 1 or threads == 1
        one_by_one([job])

    each_on_one(one, jobs, threads)
    alone = made([BASE] * 3, dates=20)
    one_by_one(alone)
    assert all(torch.equal(a, b) for a, b in zip(weights(jobs), weights(alone), strict=True))


def test_the_first_failure_stops_the_others_and_is_raised():
    running, seen = threading.Event(), []

    def one(item, check):
        if item == "fails":
            assert running.wait(10)
            raise DataError("this one")
        running.set()
        try:
            while True:
                check()
                threading.Event().wait(0.001)
        finally:
            seen.append(item)

    with pytest.raises(DataError, match=r"^this one$"):
        each_on_one(one, ["runs", "fails", "never begins"], 2)
    assert seen == ["runs"]


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize(
    "model",
    [
        LSTM(hidden=8, layers=2, **SHARED), GRU(hidden=8, **SHARED), MLP(hidden=(16, 8), **SHARED),
        TCN(channels=(8, 8), **SHARED),
    ],
    ids=lambda m: m.name,
)  # fmt: skip
def test_cuda_graphs_agree_with_the_cpu(model):
    """60 samples are one piece on both, so that both draw the same noise; plain descent, as in test_gpu."""
    model = has(model, batch=60, optimiser="sgd", learning_rate=0.05, epochs=3)
    close([model, has(model, learning_rate=0.02), has(model, epochs=2)], limit=1e-4, device="cuda", names=12)


@gpu
@pytest.mark.gpu
def test_cuda_graphs_give_the_same_bits_again_and_shrink_with_the_stack():
    models = [has(BASE, batch=60, epochs=k) for k in (1, 2, 4, 4)]
    first, second = made(models, names=12), made(models, names=12)
    assert fit_stacked(first, device="cuda") == fit_stacked(second, device="cuda")
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))
    assert next(first[0].net.parameters()).is_cuda
