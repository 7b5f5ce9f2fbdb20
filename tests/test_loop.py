import dataclasses
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kill_child import SMALL, digest, made_windows

from hitherto import compute
from hitherto.errors import ConfigError, DataError
from hitherto.features.base import Features
from hitherto.models.base import Context
from hitherto.models.recurrent import LSTM, LastStep
from hitherto.seeds import Stream
from hitherto.train import loop, pieces
from hitherto.train.optimiser import SGD, AdamW, clip_by_norm
from hitherto.train.pieces import cut, piece_rows

PLAIN = LSTM(hidden=8, lookback=5, epochs=2, batch=100, learning_rate=0.01, target="raw")
TORCH_LOSSES = {"mse": torch.nn.functional.mse_loss, "mae": torch.nn.functional.l1_loss}


def raw(y, blocks):
    return y


class Last(torch.nn.Module):
    """A linear map of the last row; ``spoil`` may replace its output at a given call."""

    def __init__(self, train, spoil=lambda call, out: out):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((train.outputs, train.width), 0.1))
        self.calls, self.spoil = 0, spoil

    def forward(self, x, generator=None):
        out = x[-1] @ self.weight.T
        if generator is not None:
            self.calls += 1
            out = self.spoil(self.calls, out)
        return out


def fit(net, train, valid, settings=PLAIN, events=None, **context):
    emit = (lambda event: None) if events is None else events.append
    return loop.fit(net, train, valid, settings, rng=Stream(0), context=Context(emit=emit, **context), target=raw)


# -- oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_equals_the_usual_loop(decay, loss):
    """The oracle: torch.optim.AdamW, clip_grad_norm_, whole batches, torch's own losses."""
    train, valid = made_windows(N=40)  # batches of 120: no piece; the next test cuts
    settings = dataclasses.replace(PLAIN, weight_decay=decay, loss=loss, clip=0.05)
    fitted = settings.fit(train, valid, rng=Stream(1), context=Context())
    net = LastStep("lstm", train.width, 8, 1, train.outputs, 0.0)
    net.reset(Stream(1).torch("init"))
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=decay)
    means = []
    for epoch in range(2):
        total = 0.0
        for b in train.batches(100, Stream(1).numpy("shuffle", epoch)):
            optimiser.zero_grad()
            error = TORCH_LOSSES[loss](net(torch.from_numpy(b.x)), torch.from_numpy(b.y))
            error.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 0.05)
            optimiser.step()
            total += error.item() * len(b.t)
        means.append(total / len(train))
    for name, value in net.state_dict().items():
        assert np.allclose(fitted.tensors()[name], value.numpy(), rtol=0, atol=2e-5), name
    assert np.allclose([e["train_loss"] for e in fitted.history.epochs], means, rtol=1e-5)
    x = torch.from_numpy(valid.gather(list(range(len(valid.offsets) - 1))).x)
    with torch.no_grad():
        expected = TORCH_LOSSES[loss](net(x), torch.from_numpy(valid.targets().astype(np.float32))).item()
    assert np.isclose(fitted.history.epochs[-1]["valid_loss"], expected, rtol=1e-5)


def test_pieces_sum_to_the_whole_batch(monkeypatch):
    train, valid = made_windows(N=100)
    settings = dataclasses.replace(PLAIN, batch=700, epochs=1)
    cut_up = settings.fit(train, valid, rng=Stream(1), context=Context()).tensors()
    monkeypatch.setattr(pieces, "piece_rows", lambda net, lookback: None)
    whole = settings.fit(train, valid, rng=Stream(1), context=Context()).tensors()
    assert all(np.allclose(cut_up[k], whole[k], rtol=0, atol=2e-5) for k in whole)


def test_adam_and_clipping_equal_torch():
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)]
    theirs = [torch.nn.Parameter(p.clone()) for p in ours]
    a, b = AdamW(ours, 0.01), torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.01)
    for k in range(20):
        gradients = [torch.randn(p.shape, generator=generator) * 10 ** (k % 5 - 2) for p in ours]
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g.clone()
        assert np.isclose(clip_by_norm(gradients, 1.0), float(torch.nn.utils.clip_grad_norm_(theirs, 1.0)), rtol=1e-6)
        a.step(gradients, 0.1)
        b.step()
    assert all(torch.allclose(p, q, rtol=1e-5, atol=1e-6) for p, q in zip(ours, theirs, strict=True))


def test_sgd_equals_torch():
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)]
    theirs = [torch.nn.Parameter(p.clone()) for p in ours]
    a, b = SGD(ours, 0.01), torch.optim.SGD(theirs, lr=0.1, momentum=0.9)
    for _ in range(20):
        gradients = [torch.randn(p.shape, generator=generator) for p in ours]
        for p, g in zip(theirs, gradients, strict=True):
            p.grad = g.clone()
        with torch.no_grad():  # torch couples its decay with the gradient; ours is decoupled
            for p in theirs:
                p.mul_(1 - 0.1 * 0.01)
        a.step(gradients, 0.1)
        b.step()
    assert all(torch.allclose(p, q, rtol=1e-5, atol=1e-6) for p, q in zip(ours, theirs, strict=True))
    assert set(a.tensors()) == {"velocity/0", "velocity/1"}


@given(st.integers(1, 5000), st.one_of(st.none(), st.integers(16, 128)))
def test_the_cut_covers_every_sample_once(size, rows):
    pieces = cut(size, rows)
    assert [a for a, _ in pieces] == [0] + [b for _, b in pieces[:-1]]
    assert pieces[-1][1] == size
    # a multiple of 16 keeps the shapes few, so a piece may pass the limit by less than that
    assert all(0 < b - a < (rows or size) + 16 for a, b in pieces)


def test_the_piece_shrinks_as_the_net_grows():
    assert [piece_rows(LastStep("lstm", 20, h, 1, 2, 0.0), L) for h, L in ((64, 30), (128, 60), (512, 60))] == [
        128,
        64,
        16,
    ]


# -- the last batch, and which epoch is kept -------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [50, 100, 10_000])
def test_the_last_incomplete_batch_counts(batch):
    train, valid = made_windows(T=43, N=7)
    net = Last(train)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    settings = dataclasses.replace(PLAIN, batch=batch, learning_rate=1e-30, epochs=1)
    history = fit(net, train, valid, settings)
    assert all(torch.equal(start[k], v) for k, v in net.state_dict().items())
    for windows, key in ((train, "train_loss"), (valid, "valid_loss")):
        b = windows.gather(list(range(len(windows.offsets) - 1)))
        assert len(b.t) == len(windows)
        expected = np.mean((b.x[-1] @ np.full((3, 2), 0.1) - b.y) ** 2)
        assert np.isclose(history.epochs[0][key], expected, rtol=1e-5)


def test_early_stopping_keeps_the_best_epoch_and_looks_at_nothing_else():
    train, _ = made_windows(T=24, N=6)
    _, noise = made_windows(T=24, N=6, seed=9)
    noise = noise.with_(label=dataclasses.replace(noise.label, values=np.random.default_rng(0).normal(size=(24, 6, 2))))
    settings = dataclasses.replace(PLAIN, epochs=40, patience=3, batch=40, hidden=16, learning_rate=0.03)
    fitted = settings.fit(train, noise, rng=Stream(0), context=Context())
    past = fitted.history
    losses = [e["valid_loss"] for e in past.epochs]
    assert len(losses) < 40
    assert past.stopped == "no better validation loss for 3 epochs"
    assert past.best_epoch == int(np.argmin(losses)) == len(losses) - 4
    assert past.best_loss == min(losses)
    short = settings.fit(train, noise, rng=Stream(0), context=Context(max_epochs=past.best_epoch + 1))
    assert all(np.array_equal(v, short.tensors()[k]) for k, v in fitted.tensors().items())


def test_without_validation_every_epoch_runs_and_the_last_is_kept():
    train, valid = made_windows()
    none = valid.with_(mask=np.zeros_like(valid.mask))
    settings = dataclasses.replace(PLAIN, epochs=7, patience=1)
    fitted = settings.fit(train, none, rng=Stream(0), context=Context())
    assert [e["valid_loss"] for e in fitted.history.epochs] == [None] * 7
    assert (fitted.history.best_epoch, fitted.history.stopped) == (6, "all 7 epochs done")
    other = settings.fit(train, valid, rng=Stream(0), context=Context(max_epochs=7))
    if other.history.best_epoch == 6:
        assert all(np.array_equal(v, other.tensors()[k]) for k, v in fitted.tensors().items())


def test_the_context_limits_epochs():
    train, valid = made_windows()
    events = []
    history = fit(Last(train), train, valid, events=events, max_epochs=1)
    assert len(history.epochs) == 1
    assert [e["event"] for e in events] == ["epoch", "stop"]
    assert events[0] == {
        **history.epochs[0],
        "event": "epoch",
        "epochs": 1,
        "best_epoch": 0,
        "seconds": events[0]["seconds"],
    }


# -- sameness --------------------------------------------------------------------------------------------------------


def test_same_seed_same_bits_whatever_the_threads_and_the_global_seed():
    train, valid = made_windows(N=100)
    settings = dataclasses.replace(SMALL, batch=600, epochs=2)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    one = settings.fit(train, valid, rng=Stream(0), context=Context(threads=1))
    torch.rand(7)
    three = settings.fit(train, valid, rng=Stream(0), context=Context(threads=3))
    other = settings.fit(train, valid, rng=Stream(1), context=Context(threads=1))
    assert digest(one) == digest(three) != digest(other)
    assert np.array_equal(one.predict(valid), three.predict(valid))
    torch.set_rng_state(before[0])
    settings.fit(train, valid, rng=Stream(0), context=Context())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.get_num_threads() == before[2]


def test_fits_even_when_the_caller_forbids_gradients():
    train, valid = made_windows()
    with torch.no_grad():
        inside = SMALL.fit(train, valid, rng=Stream(3, "kill"), context=Context(threads=2))
    assert digest(inside) == digest(SMALL.fit(train, valid, rng=Stream(3, "kill"), context=Context()))


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_diverging_step_rolls_back_and_halves_the_rate():
    train, valid = made_windows()
    steps = len(list(train.batches(100)))
    bad = steps + 2  # the second step of the second epoch
    events = []
    net = Last(train, lambda call, out: out * (float("nan") if call == bad else 1))
    history = fit(net, train, valid, dataclasses.replace(PLAIN, epochs=3), events)
    assert history.rollbacks == 1
    assert [e["rate"] for e in history.epochs] == [0.01, 0.005, 0.005]
    told = [e for e in events if e["event"] == "rollback"]
    assert told == [
        {
            "event": "rollback",
            "epoch": 1,
            "step": 0,
            "cause": "loss nan, gradient norm nan at epoch 1, step 1",
            "rate": 0.005,
        }
    ]
    assert torch.isfinite(net.weight).all()
    # the rolled-back epoch began where the first one ended: as if it had been run at half the rate at once
    clean = Last(train)
    fit(clean, train, valid, dataclasses.replace(PLAIN, epochs=1))
    assert history.epochs[0] == fit(Last(train), train, valid, dataclasses.replace(PLAIN, epochs=1)).epochs[0]


def test_a_rollback_survives_a_resume(tmp_path, monkeypatch):
    train, valid = made_windows()
    bad = len(list(train.batches(100))) + 3

    def spoil(call, out):
        return out * (float("nan") if call == bad else 1)

    def run(net, folder, resume=False):
        context = Context(folder=folder, resume=resume)
        return loop.fit(net, train, valid, PLAIN, rng=Stream(0), context=context, target=raw, every=loop.Every(steps=1))

    whole = Last(train, spoil)
    history = run(whole, tmp_path / "whole")
    assert history.rollbacks == 1
    # stopped after the second step of the second epoch, by a checkpoint that carries the start of the epoch
    first = Last(train, spoil)
    save, count = loop.checkpoint.save, 0

    def stop(*arguments):
        nonlocal count
        save(*arguments)
        count += 1
        if count == bad:  # bad - 1 steps and one end of epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.checkpoint, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            run(first, tmp_path / "part")
    second = Last(train, lambda call, out: out * (float("nan") if call == 1 else 1))
    assert run(second, tmp_path / "part", resume=True) == history
    assert torch.equal(whole.weight, second.weight)


def test_a_loss_that_explodes_without_becoming_infinite_rolls_back_too():
    train, valid = made_windows()
    history = fit(Last(train, lambda call, out: out * (1e6 if call == 3 else 1)), train, valid)
    assert history.rollbacks == 1


def test_endless_divergence_is_a_config_error():
    train, valid = made_windows()
    with pytest.raises(ConfigError) as error:
        fit(Last(train, lambda call, out: out * float("inf")), train, valid)
    assert str(error.value) == (
        "train: diverged 4 times, last: loss inf, gradient norm nan at epoch 0, step 0, at learning rate 0.00125 (from "
        "0.01). Use a smaller learning_rate or clip, or inputs of order 1."
    )
    with pytest.raises(ConfigError, match="diverged 4 times"):
        dataclasses.replace(PLAIN, learning_rate=1e9).fit(train, valid, rng=Stream(0), context=Context())


def test_no_train_sample():
    train, valid = made_windows()
    with pytest.raises(DataError) as error:
        fit(Last(train), train.with_(mask=np.arange(40)[:, None] < np.full(12, 4)), valid)
    assert str(error.value) == (
        "train: no sample is left of 48 asked for (lookback 5, labels, missing values); lengthen the train stretch, "
        "shorten the lookback or allow more missing values."
    )


@pytest.mark.parametrize("where", ["train", "valid"])
def test_infinite_inputs_and_labels(where):
    train, valid = made_windows()
    windows = {"train": train, "valid": valid}
    row = 20 if where == "train" else 35
    values = train.features.values.copy()
    values[row, 0, 0] = np.inf
    bad = Features(values, train.features.names, train.features.lookbacks)
    changed = {**windows, where: windows[where].with_(features=bad)}
    with pytest.raises(DataError, match=r"inputs at rows \d+\.\.\d+ hold NaN or inf; give the windows a fill value"):
        fit(Last(train), changed["train"], changed["valid"])

    def broken(y, blocks):
        return np.where(np.arange(len(y))[:, None] == 3, np.nan, y)

    with pytest.raises(DataError, match=r"labels at rows \d+\.\.\d+ hold NaN or inf; check the prices there"):
        loop.fit(Last(train), train, valid, PLAIN, rng=Stream(0), context=Context(), target=broken)


@pytest.mark.parametrize("name", ["epochs", "batch", "learning_rate", "clip", "patience"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e10])
def test_settings_are_checked(name, value):
    train, valid = made_windows()
    with pytest.raises(ConfigError) as error:
        fit(Last(train), train, valid, dataclasses.replace(PLAIN, **{name: value}))
    assert str(error.value) == f"train: {name} must lie above 0 and at most at 1e9, got {value}."


def test_unknown_loss():
    known = "mse, mae, huber, ic, rank, quantile, cross_entropy"
    with pytest.raises(ConfigError) as error:
        dataclasses.replace(PLAIN, loss="rmse")
    assert str(error.value) == f"lstm: loss 'rmse' is not known; use one of {known}."


# -- threads and devices ---------------------------------------------------------------------------------------------


def test_workers_keep_the_order_and_pass_errors_on():
    with compute.Workers(3) as workers:
        assert list(workers.map(lambda k: k * k, range(50))) == [k * k for k in range(50)]
        assert set(workers.map(lambda k: torch.get_num_threads(), range(20))) == {1}
        with pytest.raises(ZeroDivisionError):
            list(workers.map(lambda k: 1 // k, range(3)))


def test_threads_and_device_are_chosen(monkeypatch):
    assert 1 <= compute.choose_threads("auto") <= 8
    assert compute.choose_threads(3) == 3
    for bad in (0, -2, 1.5, "many", True):
        with pytest.raises(ConfigError) as error:
            compute.choose_threads(bad)
        assert str(error.value) == f"threads must be 'auto' or a whole number >= 1, got {bad!r}"
    assert compute.choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"device 'tpu' was asked for; here there is cpu"):
        compute.choose_device("tpu")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    compute.set_omp_passive()
    assert compute.probe()["omp_wait_policy"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    compute.set_omp_passive()
    assert compute.record()["omp_wait_policy"] == "ACTIVE"
    assert compute.record("cpu", 2)["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    state = torch.get_rng_state()
    assert compute.measure_lstm_step(1, hidden=8, lookback=4, width=3, batch=16) > 0
    assert torch.equal(state, torch.get_rng_state())


def test_precision_is_float32_unless_a_probe_passes():
    assert compute.choose_precision("float32", "cpu") == "float32"
    with pytest.raises(ConfigError) as error:
        compute.choose_precision("half", "cpu")
    assert str(error.value) == "precision 'half' is not known; use one of float32, tf32, bf16."
    with pytest.raises(ConfigError) as error:
        compute.choose_precision("tf32", "cpu")
    assert str(error.value) == (
        "precision 'tf32' on cpu: the probe failed (it needs a CUDA device of compute capability 8 or later). Use "
        "'float32'."
    )
    assert compute.record(precision="bf16")["precision"] == "bf16"


def test_a_precision_whose_gradients_are_off_is_refused(monkeypatch):
    exact = torch.ones(4)
    monkeypatch.setattr(compute, "_probe_gradient", lambda p, device: exact if p == "float32" else 1.04 * exact)
    assert compute.choose_precision("bf16", "cpu") == "bf16"
    monkeypatch.setattr(compute, "_probe_gradient", lambda p, device: exact if p == "float32" else 1.1 * exact)
    with pytest.raises(ConfigError, match=r"the probe failed \(its gradients are 10\.0 % off\)\. Use 'float32'\."):
        compute.choose_precision("bf16", "cpu")


def test_bf16_keeps_weights_in_float32():
    train, valid = made_windows()
    rough = Last(train)
    fit(rough, train, valid, precision="bf16")  # a plain product works everywhere
    exact = Last(train)
    fit(exact, train, valid)
    assert rough.weight.dtype == torch.float32
    assert not torch.equal(rough.weight, exact.weight)
    assert torch.allclose(rough.weight, exact.weight, atol=0.02)


def test_memory_is_kept_unless_the_user_said_otherwise(monkeypatch):
    said = compute.platform.libc_ver()[0] == "glibc" and not any(
        k.startswith(("MALLOC_", "GLIBC_TUNABLES")) for k in os.environ
    )
    compute.keep_memory.cache_clear()
    assert compute.keep_memory() == said
    compute.keep_memory.cache_clear()
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    assert compute.keep_memory() is False
    compute.keep_memory.cache_clear()
