"""Glass box: the hand example to the bit, torch's LSTM and GRU as oracles, tables and messages."""

import numpy as np
import pytest
import torch

from hitherto.errors import ConfigError
from hitherto.models.glassbox import (
    COURSE_INPUT,
    GRUCell,
    LSTMCell,
    course_cell,
    course_example,
    run_layers,
)

CELL = [2, 6, 6, 3, 7]
OUTPUT = [2, 0, 6, 3, 7]


def course_x(dtype=np.float64):
    return np.array(COURSE_INPUT, dtype)[:, None, :]


def course_error(k):
    return np.abs(course_cell(k, gate="sigmoid").run(course_x()).h[:, 0, 0] - OUTPUT).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_hand_example_is_exact_to_the_bit(dtype):
    trace = course_example(dtype)
    assert trace.h.dtype == dtype
    columns = {"g": [2, 4, 1, 3, 4], "i": [1, 1, 0, 1, 1], "f": [1, 1, 1, 0, 1], "o": [1, 0, 1, 1, 1]}
    for name, want in {**columns, "c": CELL, "h": OUTPUT}.items():
        assert getattr(trace, name)[:, 0, 0].tolist() == want
    assert trace.c0.tolist() == [[0]]


def test_the_hand_example_with_soft_gates():
    assert course_error(40) < 1e-7
    assert course_error(1) > 0.5  # the plain sigmoid does not give it
    soft = course_cell(1, gate="sigmoid").run(course_x()).h[:, 0, 0]
    assert np.allclose(soft, [0.775, 1.233, 1.500, 1.729, 2.626], atol=5e-4)


def test_the_error_falls_as_exp_of_half_the_sharpness():
    assert course_error(20) / course_error(30) == pytest.approx(np.exp(5), rel=0.05)
    assert course_error(30) == pytest.approx(19 * np.exp(-15), rel=0.01)


def in_torch(cell, dtype):
    net = torch.nn.LSTM(4, 1, dtype=dtype)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    net.load_state_dict({f"{n}_l0": torch.tensor(np.array(getattr(cell, n))) for n in names})
    return net


@pytest.mark.parametrize(("dtype", "k", "s", "bar"), [(np.float32, 60, 1e-3, 2e-4), (np.float64, 80, 1e-4, 2e-6)])
def test_the_hand_example_in_torch(dtype, k, s, bar):
    cell = course_cell(k, s, gate="sigmoid", squash="tanh", dtype=dtype)
    with torch.no_grad():
        h = in_torch(cell, torch.float32 if dtype == np.float32 else torch.float64)(torch.tensor(course_x(dtype)))[0]
    got = h.numpy()[:, 0, 0] / s
    error = np.abs(got - OUTPUT).max()
    assert error < bar
    assert error == pytest.approx(145 * s * s, rel=0.02)
    assert np.abs(cell.run(course_x(dtype)).h[:, 0, 0] / s - got).max() < (5e-6 if dtype == np.float32 else 1e-11)


def network(kind, dtype, seed, features=5, hidden=7, layers=3, bias=True):
    net = kind(features, hidden, layers, bias=bias, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.uniform_(-0.8, 0.8, generator=generator)
    x = torch.randn(9, 4, features, generator=generator, dtype=dtype)
    return net, x


KINDS = [(torch.nn.LSTM, LSTMCell), (torch.nn.GRU, GRUCell)]


@pytest.mark.parametrize(("kind", "cell"), KINDS)
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_torch_over_three_layers(kind, cell, dtype, bar, bias, seed):
    net, x = network(kind, dtype, seed, bias=bias)
    cells = [cell.from_torch_state(net.state_dict(), layer) for layer in range(3)]
    traces = run_layers(cells, x.numpy())
    with torch.no_grad():
        h, last = net(x)
    assert traces[-1].h.dtype == x.numpy().dtype
    assert np.abs(traces[-1].h - h.numpy()).max() < bar
    states = last if kind is torch.nn.LSTM else (last,)
    for layer, trace in enumerate(traces):
        assert np.abs(trace.h[-1] - states[0][layer].numpy()).max() < bar
        if kind is torch.nn.LSTM:
            assert np.abs(trace.c[-1] - states[1][layer].numpy()).max() < bar


@pytest.mark.parametrize(("kind", "cell"), KINDS)
def test_starts_from_given_states_and_splits_in_time(kind, cell):
    net, x = network(kind, torch.float64, 3, layers=1)
    one = cell.from_torch_state(net.state_dict())
    whole = one.run(x.numpy())
    first = one.run(x.numpy()[:4])
    states = (first.h[-1], first.c[-1]) if cell is LSTMCell else (first.h[-1],)
    rest = one.run(x.numpy()[4:], *states)
    assert np.array_equal(np.concatenate([first.h, rest.h]), whole.h)
    assert one.run(x.numpy()[:0]).h.shape == (0, 4, 7)


def test_every_gate_obeys_the_equations():
    net, x = network(torch.nn.LSTM, torch.float64, 4, layers=1)
    t = LSTMCell.from_torch_state(net.state_dict()).run(x.numpy())
    before = np.concatenate([t.c0[None], t.c[:-1]])
    assert np.array_equal(t.c, t.f * before + t.i * t.g)
    assert np.array_equal(t.h, t.o * np.tanh(t.c))
    net, x = network(torch.nn.GRU, torch.float64, 4, layers=1)
    u = GRUCell.from_torch_state(net.state_dict()).run(x.numpy())
    assert np.array_equal(u.h, (1 - u.z) * u.n + u.z * np.concatenate([u.h0[None], u.h[:-1]]))
    for gate in (t.i, t.f, t.o, u.r, u.z):
        assert gate.min() > 0
        assert gate.max() < 1


def test_swapped_gates_are_noticed():
    # the oracle has teeth: with i and f exchanged, torch and the glass box part
    net, x = network(torch.nn.LSTM, torch.float64, 0, layers=1)
    c = LSTMCell.from_torch_state(net.state_dict())
    order = np.r_[7:14, 0:7, 14:28]
    swapped = LSTMCell(c.weight_ih[order], c.weight_hh[order], c.bias_ih[order], c.bias_hh[order])
    with torch.no_grad():
        assert np.abs(swapped.run(x.numpy()).h - net(x)[0].numpy()).max() > 1e-2


def test_a_cell_keeps_its_numbers_when_training_goes_on():
    net, x = network(torch.nn.LSTM, torch.float32, 0, layers=1)
    cell = LSTMCell.from_torch_state(net.state_dict())
    before = cell.run(x.numpy()).h
    with torch.no_grad():
        net.weight_ih_l0.zero_()
    assert np.array_equal(cell.run(x.numpy()).h, before)


def test_prefix_and_dtype():
    net, x = network(torch.nn.GRU, torch.float32, 0, layers=1)
    state = {f"net.rnn.{k}": v for k, v in net.state_dict().items()}
    cell = GRUCell.from_torch_state(state, prefix="net.rnn.", dtype=np.float64)
    assert cell.run(x.numpy()).h.dtype == np.float64
    with torch.no_grad():
        assert np.abs(cell.run(x.numpy()).h - net(x)[0].numpy()).max() < 1e-6


def test_extreme_inputs_do_not_overflow_and_nan_stays_nan():
    cell = course_cell(1e4, gate="sigmoid", squash="tanh")
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(cell.run(course_x() * 1e3).h).all()
    x = course_x()
    x[2, 0, 1] = np.nan
    h = course_cell().run(x).h[:, 0, 0]
    assert np.isfinite(h[:2]).all()
    assert np.isnan(h[2])


def test_the_table_of_the_hand_example():
    assert course_example().table() == "\n".join(
        [
            "step  candidate g  input i  forget f  output o  cell c  out h",
            "   0                                                 0      0",
            "   1            2        1         1         1       2      2",
            "   2            4        1         1         0       6      0",
            "   3            1        0         1         1       6      6",
            "   4            3        1         0         1       3      3",
            "   5            4        1         1         1       7      7",
        ]
    )


def test_the_table_shows_one_sample_and_unit():
    net, x = network(torch.nn.GRU, torch.float64, 0, layers=1)
    trace = GRUCell.from_torch_state(net.state_dict()).run(x.numpy())
    lines = trace.table(sample=3, unit=6, digits=3).splitlines()
    assert len(lines) == 11
    assert lines[4].split() == ["3", *(f"{a[2, 3, 6]:.3g}" for a in (trace.r, trace.z, trace.n, trace.h))]


def message(call):
    with pytest.raises(ConfigError) as e:
        call()
    return str(e.value)


def test_messages():
    z = np.zeros
    assert message(lambda: LSTMCell(z((3, 2)), z((3, 1)), z(3), z(3))) == (
        "LSTMCell: weights must be (4H, F), (4H, H), (4H,), (4H,), got (3, 2), (3, 1), (3,), (3,); "
        "check the gate order and the layer"
    )
    assert message(lambda: GRUCell(z((3, 2)), z((3, 1)), z(3), z(3), gate="soft")) == (  # type: ignore[arg-type]
        "GRUCell: gate must be one of sigmoid, hard, got 'soft'"
    )
    assert message(lambda: course_cell().run(z((5, 1, 3)))) == "glassbox: x must be (L, B, 4), got (5, 1, 3)"
    assert message(lambda: course_cell().run(z((5, 2, 4)), z((1, 1)))) == (
        "glassbox: a first state must be (2, 1), got (1, 1)"
    )
    assert message(lambda: LSTMCell.from_torch_state({"head.weight": z(1)})) == (
        "glassbox: the state has no weight_ih_l0; it holds head.weight. Check layer and prefix."
    )
    both = torch.nn.LSTM(2, 3, bidirectional=True).state_dict()
    assert message(lambda: LSTMCell.from_torch_state(both)) == (
        "glassbox: the state has weight_ih_l0_reverse; only one direction without projection is traced"
    )
