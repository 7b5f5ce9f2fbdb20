"""hitherto speed: the count of matrix products, the split of a step, the tables, the comparison, the projection."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError, DataError
from hitherto.models.base import Context
from hitherto.models.net import Net, Standardised
from hitherto.models.recurrent import LSTM
from hitherto.seeds import Stream
from hitherto.study import Study, speeding
from hitherto.study.speeding import Speed, Work, command, compare, duration, load
from hitherto.train import speed
from hitherto.train.speed import Pace, Product, Size, Subject, gemm_peak, made_windows, measure, products
from hitherto.windows import Windows

PACE = Pace("1 x 16, 20 bars", 20, 512, 2e6, step=10.0, gemm=4.0, compute=7.0, data=1.0, update=0.5, forward=2.0)


def flops(seen):
    return sum(p.flops * times for p, times in seen.items())


def trained(net, x, *, inputs_too=False):
    """Forward and backward, as in training."""
    x = x.requires_grad_(inputs_too)
    wanted = [*net.parameters(), *([x] if inputs_too else [])]
    out = net(x)
    out = out[0] if isinstance(out, tuple) else out
    return lambda: None, torch.autograd.grad(out.square().sum(), wanted)


# -- matrix products ---------------------------------------------------------------------------------------------------


def test_products_of_a_linear_layer():
    net, x = torch.nn.Linear(7, 5), torch.randn(11, 7)
    seen = products(lambda: trained(net, x))
    assert seen == {Product(1, 11, 7, 5): 1, Product(1, 5, 11, 7): 1}  # forward; weight gradient, no input gradient
    assert flops(products(lambda: net(x))) == 2 * 11 * 7 * 5


@pytest.mark.parametrize("layers", [1, 2])
def test_products_of_an_lstm_are_three_times_those_of_its_forward_pass(layers):
    L, B, F, H = 6, 32, 5, 8
    net, x = torch.nn.LSTM(F, H, layers), torch.randn(L, B, F)
    forward = 2 * L * B * 4 * H * (F + H) + (layers - 1) * 2 * L * B * 4 * H * (H + H)
    with torch.no_grad():
        assert flops(products(lambda: net(x))) == forward
    both = flops(products(lambda: trained(net, x, inputs_too=True)))
    assert both == pytest.approx(3 * forward, rel=0.02)


def test_a_fused_lstm_counts_what_the_cell_by_hand_multiplies():
    """The oracle: the equations of the cell, written with linear layers whose products are seen one by one."""
    L, B, F, H = 4, 16, 3, 8
    net, x = torch.nn.LSTM(F, H), torch.randn(L, B, F)
    w_in, w_state, b_in, b_state = net.parameters()

    def by_hand():
        h = c = torch.zeros(B, H)
        long = torch.nn.functional.linear(x.flatten(0, 1), w_in, b_in).reshape(L, B, 4 * H)
        for t in range(L):
            i, f, g, o = (long[t] + torch.nn.functional.linear(h, w_state, b_state)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h

    with torch.no_grad():
        assert torch.allclose(by_hand(), net(x)[0][-1], atol=1e-6)
        assert products(by_hand) == products(lambda: net(x))


def test_products_of_a_convolution_and_of_attention():
    net, x = torch.nn.Conv1d(6, 10, 3, groups=2), torch.randn(4, 6, 12)
    one = 2 * 4 * 10 * 10 * 3 * 3  # samples x places x channels out x channels of the group x taps, mult and add
    assert flops(products(lambda: net(x))) == one
    assert flops(products(lambda: trained(net, x))) == 2 * one
    assert flops(products(lambda: trained(net, x, inputs_too=True))) == 3 * one
    q, k, v = (torch.randn(2, 3, n, 16) for n in (5, 9, 9))
    with torch.no_grad():
        seen = products(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
    assert flops(seen) == 2 * (2 * 2 * 3 * 5 * 9 * 16)


def test_what_is_no_product_counts_as_none():
    assert products(lambda: torch.randn(8, 8).tanh().sum()) == {}


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_products_in_a_batch(n, rows, inner, columns):
    a, b = torch.zeros(n, rows, inner), torch.zeros(n, inner, columns)
    assert products(lambda: torch.bmm(a, b)) == {Product(n, rows, inner, columns): 1}


def test_the_replay_runs_the_products_it_is_given():
    wanted = products(lambda: trained(torch.nn.LSTM(3, 4), torch.randn(5, 16, 3)))
    replay = speed._Replay("cpu")
    assert products(lambda: replay(wanted)) == wanted


# -- a step and its parts ----------------------------------------------------------------------------------------------


def test_shares_of_a_made_pace():
    assert PACE.rate == 51.2
    assert PACE.gflops == pytest.approx(2e6 * 51.2 / 1e9)
    assert PACE.shares == pytest.approx(
        {"gemm": 0.4, "time loop": 0.3, "waiting": 0.1, "update": 0.05, "rest": 0.15}
    )  # fmt: skip


def test_data_made_behind_the_computing_is_not_waited_for():
    hidden = dataclasses.replace(PACE, data=6.0)  # 10 - 7 - 0.5 leaves 2.5
    assert hidden.shares["waiting"] == pytest.approx(0.25)
    assert hidden.shares["rest"] == pytest.approx(0)
    none = dataclasses.replace(PACE, compute=11.0)
    assert none.shares["waiting"] == 0
    assert none.shares["rest"] == pytest.approx(-0.15)


@given(*[st.floats(0, 10, allow_nan=False)] * 4, st.floats(0.1, 10))
def test_shares_add_up_to_one(gemm, compute, data, update, step):
    pace = dataclasses.replace(PACE, gemm=gemm, compute=compute, data=data, update=update, step=step)
    assert sum(pace.shares.values()) == pytest.approx(1)


class Clock:
    """Time that passes only where the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def slow(clock, forward, gather):
    """A linear net whose forward pass takes ``forward``, and windows whose batches take ``gather`` each."""

    class Slow(torch.nn.Linear):
        def forward(self, x, generator=None):
            clock.now += forward
            return super().forward(x[-1])

        def __deepcopy__(self, memo):
            return slow_net(self.state_dict())

    def slow_net(weights):
        net = Slow(20, 1)
        net.load_state_dict(weights)
        return net

    class SlowWindows(Windows):
        def batches(self, size, rng=None):
            for batch in super().batches(size, rng):
                clock.now += gather
                yield batch

    made = made_windows(8, 64, 20, 1, 3)
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    return slow_net(torch.nn.Linear(20, 1).state_dict()), SlowWindows(**fields)


def test_every_part_is_measured_by_itself():
    """Three batches of 192, 192 and 128 samples; a forward pass is 2 s a piece, a batch 5 s, all else nothing."""
    clock = Clock()
    net, windows = slow(clock, 2.0, 5.0)
    settings = LSTM(lookback=3, batch=129)
    pieces = [len(c) for c in _cuts(net, windows, settings)]
    pace = measure(Subject("slow", net, settings, Standardised("raw"), windows), Context(), seconds=0.0, clock=clock)
    steps, calls = len(pieces), sum(pieces)
    assert pace.samples == 512 // steps
    assert pace.flops == 2 * (2 * 20)  # forward and the gradient of the weights
    assert pace.compute == pytest.approx(2.0 * calls / steps)
    assert pace.data == 5.0
    assert pace.step == pytest.approx(5.0 + pace.compute)
    assert pace.gemm == pace.update == 0
    assert pace.shares["waiting"] == pytest.approx(5.0 / pace.step)
    assert pace.shares["rest"] == pytest.approx(0)


def _cuts(net, windows, settings):
    from hitherto.train.pieces import Cutter

    cutter = Cutter(net, settings.lookback, "cpu", by_date=False, pad=True)
    return [cutter.cut(b.blocks) for b in Windows.batches(windows, settings.batch)]


def test_measuring_leaves_the_net_as_it_was():
    windows = made_windows(4, 64, 20, 1, 3)
    settings = LSTM(hidden=8, lookback=3, batch=128)
    net = settings.make(20, 1, Stream(0))
    before = copy.deepcopy(net.state_dict())
    pace = measure(Subject("lstm", net, settings, Standardised("raw"), windows), Context(threads=2), seconds=0.0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert pace.step > 0
    assert pace.flops == pytest.approx(3 * 2 * 3 * 32 * (20 + 8), rel=0.02)


def test_a_date_net_is_measured_too():
    class Mean(torch.nn.Linear):
        def forward(self, x, generator=None):
            assert x.shape[1] == 64  # one date at a time
            return super().forward(x[-1]) - super().forward(x[-1]).mean(0)

    @dataclasses.dataclass(frozen=True)
    class Dated(Net):
        name: str = "dated"
        unit = "date"

        def build(self, width, columns):
            return Mean(width, columns)

    subject = speeding.subject("dated", Dated(lookback=3, batch=128), made_windows(4, 64, 20, 2, 3))
    assert not subject.windows.labelled
    pace = measure(subject, Context(), seconds=0.0)
    assert pace.samples == 128
    assert pace.flops == 2 * 2 * (2 * 20 * 2)


def test_the_ladder_gives_each_rung_its_size(monkeypatch):
    monkeypatch.setattr(speed, "EPOCH_FLOPS", 1.0)
    asked = []

    def build(size, windows):
        asked.append((size, windows.lookback, len(windows)))
        return speeding._lstm(size, windows)

    sizes = (Size(8, 3, 1), Size(8, 3, 2))
    paces = list(speed.ladder(build, Context(), sizes=sizes, seconds=0.0))
    assert [p.name for p in paces] == ["1 x 8, 3 bars", "2 x 8, 3 bars"]
    assert asked == [(s, 3, 2 * 512) for s in sizes]
    assert [p.samples for p in paces] == [512, 512]


def test_an_epoch_of_a_large_net_has_fewer_steps():
    cells = {s: 4 * s.hidden * (20 + s.hidden + (s.layers - 1) * 2 * s.hidden) for s in speed.LADDER}
    work = {s: 3 * 2 * 512 * s.lookback * c for s, c in cells.items()}  # of a step: forward, and twice that backward
    assert {s: speed.epoch_steps(s) for s in work} == {s: min(max(int(1e10 / w), 2), 32) for s, w in work.items()}
    assert {speed.epoch_steps(s) for s in work} >= {2, 32}


def test_the_peak_is_the_best_of_its_sizes():
    ticks = iter([0, 9, 10, 12, 20, 29, 30, 39, 40, 49, 50, 54, 60, 69, 70, 79, 80, 89, 90, 99])
    # two sizes of five products; the best of 16 took 2 s, the best of 32 took 4 s
    peak = gemm_peak(1, sizes=(16, 32), clock=lambda: float(next(ticks)))
    assert peak == pytest.approx(2 * 32**3 / 4 / 1e9)
    assert next(ticks, None) is None


def test_the_peak_counts_the_products_of_every_thread():
    ticks = iter(float(t) for t in range(20))
    assert gemm_peak(2, sizes=(16,), clock=lambda: next(ticks)) == pytest.approx(2 * 2 * 16**3 / 1e9)


# -- tables ------------------------------------------------------------------------------------------------------------

MACHINE = {"processor": "Toy 9000", "cores": 4, "threads": 2, "device": "cpu", "when": "2026-01-02T03:04:05+00:00",
           "versions": {"torch": "2.99"}}  # fmt: skip


def made(factor=1.0, **changes):
    pace = dataclasses.replace(PACE, step=PACE.step / factor)
    work = Work("mine", 6, 30, 120_000, 24_000, 24_000, pace, 4000.0)
    fields = {"study": "toy", "work": (work,), "left": ("zero", "ridge"), **changes}
    return Speed(MACHINE, {1: 1.0, 2: 2.0}, (pace,), 0.0, **fields)


def test_the_text_of_a_result():
    lines = made().to_text().splitlines()
    assert lines == [
        "Toy 9000, 2 threads of 4, torch 2.99, 2026-01-02",
        "GEMM peak: 1 GFLOP/s on 1 thread, 2 GFLOP/s on 2 threads (cpu, float32)",
        "",
        "LSTM             samples/s  step ms  GEMM  time loop  waiting  update  rest  of peak",
        "1 x 16, 20 bars         51  10000.0  40 %       30 %     10 %     5 %  15 %      5 %",
        *speeding.LEGEND,
        "",
        "study toy  fits  epochs  samples  MFLOP each  samples/s  of peak     at most",
        "mine          6      30  120,000           2         51      5 %  1 h 07 min",
        "all nets, one after the other: at most 1 h 07 min (early stopping ends sooner); not projected, being no nets: "
        "zero, ridge",
    ]
    assert not any("note" in x for x in lines)
    assert (
        "note: other processes had 40 % of the processor; a quiet machine is faster"
        in dataclasses.replace(made(), busy=0.4).to_text().splitlines()
    )
    assert "study" not in made(study=None, work=(), left=()).to_text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185.2, "3 min 05 s"),
     (3599.4, "59 min 59 s"), (3599.6, "1 h 00 min"), (7799, "2 h 10 min"), (4.5e6, "1,250 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def save(path, value):
    path.write_text(value.to_json())
    return path


def test_a_result_is_the_same_after_a_round_trip(tmp_path):
    for value in (made(), made(study=None, work=(), left=())):
        assert load(save(tmp_path / "a.json", value)) == value


def test_two_machines_in_one_table(tmp_path):
    a, b = save(tmp_path / "a.json", made()), save(tmp_path / "b.json", made(3.0))
    lines = compare(a, b).splitlines()
    assert lines == [
        f"A: Toy 9000, 2 threads of 4, torch 2.99, 2026-01-02, GEMM peak 2 GFLOP/s ({a})",
        f"B: Toy 9000, 2 threads of 4, torch 2.99, 2026-01-02, GEMM peak 2 GFLOP/s ({b})",
        "",
        "samples/s         A    B  B / A  A of peak  B of peak",
        "1 x 16, 20 bars  51  154   3.00        5 %       15 %",
        "mine of toy      51  154   3.00        5 %       15 %",
    ]
    other = save(tmp_path / "c.json", made(study="another"))
    assert "mine" not in compare(a, other)
    assert command(compared=(a, b)) == compare(a, b)


def test_what_cannot_be_compared(tmp_path):
    a = save(tmp_path / "a.json", made())
    nothing = save(tmp_path / "n.json", Speed(MACHINE, {1: 1.0}, ()))
    text = f"speed: {a} and {nothing} have no net in common; measure both with the same options"
    with pytest.raises(ConfigError, match="^" + text.replace("(", r"\(") + "$"):
        compare(a, nothing)
    bad = tmp_path / "bad.json"
    broken = json.loads(made().to_json())
    for body in ("[]", "{}", '{"format": "hitherto-speed-0"}', json.dumps({**broken, "rows": [{"name": "x"}]}),
                 json.dumps({**broken, "peak": {"one": 1}}), json.dumps({**broken, "more": 1})):  # fmt: skip
        bad.write_text(body)
        with pytest.raises(DataError) as error:
            load(bad)
        assert str(error.value) == (
            f"{bad} is no result of this version of hitherto speed; write it again with --out"
        ), body
    with pytest.raises(DataError, match="could not read"):
        load(tmp_path / "absent.json")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [({"compared": ("a", "b"), "quick": True},
      "--compare stands alone: it takes two files that hitherto speed has written"),
     ({"assignments": ["seed=1"]}, "--set changes a study: give the study file too, with --study FILE"),
     ({"threads": "two"}, "threads must be 'auto' or a whole number >= 1, got 'two'")],
)  # fmt: skip
def test_options_that_do_not_fit(options, text):
    with pytest.raises(ConfigError) as error:
        command(**options)
    assert str(error.value) == text


def test_a_bad_place_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(speeding, "survey", None)
    for out in (tmp_path / "a.txt", tmp_path / "none" / "a.json"):
        with pytest.raises(ConfigError) as error:
            command(out=out)
        assert str(error.value) == f"--out must be a .json file in a folder that exists, got '{out}'"


def test_the_result_is_saved_and_printed(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(speeding, "survey", lambda study, **options: asked.update(options) or made())
    monkeypatch.setenv("HITHERTO_CACHE", str(tmp_path / "cache"))
    text = command(threads="2", quick=True)
    assert asked["threads"] == 2
    assert asked["quick"] is True
    place = next((tmp_path / "cache" / "speed").glob("speed-*.json"))
    assert text == f"{made().to_text()}\nsaved: {place}"
    assert load(place) == made()
    out = tmp_path / "mine.json"
    assert json.loads(command(out=out, as_json=True)) == json.loads(out.read_text())


def study(panel, models, **tables):
    return Study(panel, features={"set": "close_only"}, models=models, seeds=2,
                 split={"train": 60, "valid": 20, "test": 20, "folds": 2},
                 portfolio={"k": 2}, **tables)  # fmt: skip


@pytest.fixture
def wide():
    from toys import make_panel

    return make_panel(T=220, N=6)


def test_the_projection_counts_samples_epochs_folds_and_seeds(wide):
    net = {"kind": "lstm", "hidden": 4, "lookback": 5, "epochs": 7, "batch": 60}
    mine = study(wide, [net, {"kind": "ensemble", "of": {**net, "name": "inner"}, "members": 3, "name": "three"}])
    needs = {n.name: n for n in speeding._needs(mine)}
    assert list(needs) == ["lstm", "three"]  # the baselines are no nets
    assert (needs["lstm"].repeats, needs["three"].repeats) == (2, 6)
    p = mine.prepare()
    counts = []
    for fold in p.folds:
        train = mine.windows(p, mine.models[0], fold)
        stages = (train, train.with_(mask=fold.valid), train.with_(mask=fold.test, labelled=False))
        counts.append(tuple(len(s) for s in stages))
    assert needs["lstm"].folds == tuple(counts)
    assert min(min(c) for c in counts) > 50
    pace = dataclasses.replace(PACE, step=100.0, samples=50, forward=20.0, data=5.0)
    work = needs["lstm"].at(pace, 1)
    each = [7 * (a * 2.0 + b * 0.5) + c * 0.5 for a, b, c in counts]
    assert work.seconds == pytest.approx(2 * sum(each))
    assert (work.fits, work.epochs) == (4, 7)
    assert work.train == sum(c[0] for c in counts)
    assert needs["three"].at(pace, 1).seconds == pytest.approx(3 * work.seconds)
    limited = dataclasses.replace(needs["lstm"], settings=dataclasses.replace(needs["lstm"].settings, cpu_seconds=60.0))
    assert limited.at(pace, 2).seconds == pytest.approx(2 * sum(30.0 + c[2] * 0.5 for c in counts))
    subject = needs["lstm"].subject()
    assert (subject.windows.width, subject.windows.lookback) == (mine.windows(p, mine.models[0], p.folds[0]).width, 5)
    assert len(subject.windows) == 4 * 60
    assert np.array_equal(np.diff(subject.windows.offsets), np.full(40, 6))


def test_a_study_without_a_net_is_refused(wide):
    with pytest.raises(ConfigError) as error:
        speeding._needs(study(wide, [{"kind": "ridge"}], where="mine.toml"))
    assert str(error.value) == "speed: mine.toml holds no net; its models are ridge, zero, persistence, lightgbm"


def test_survey_end_to_end(wide, monkeypatch):
    monkeypatch.setattr(speeding, "SHORT", (Size(4, 3, 1),))
    monkeypatch.setattr(speed, "PEAK_SIZES", {"cpu": (32,)})
    monkeypatch.setattr(speed, "EPOCH_FLOPS", 1e6)
    told = []
    net = {"kind": "lstm", "hidden": 4, "lookback": 5, "batch": 60}
    found = speeding.survey(study(wide, [net]), threads=2, device="cpu", quick=True, tell=told.append)
    assert list(found.peak) == [1, 2]
    assert [r.name for r in found.rows] == ["1 x 4, 3 bars"]
    assert [w.model for w in found.work] == ["lstm"]
    assert found.left == ("zero", "persistence", "ridge", "lightgbm")
    assert [t.split(":")[0] for t in told] == ["1 x 4, 3 bars", "lstm"]
    assert found.machine["processor"]
    assert "lstm" in found.to_text()
