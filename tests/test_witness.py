"""Alpha158 against witnesses: values worked out with pandas here, and pyqlib itself where an interpreter has it.

The pyqlib half needs the environment variable HITHERTO_PEER_PYTHON: the path of a Python with pyqlib 0.9.7 installed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import make_panel

from hitherto.features.alpha158 import alpha158
from hitherto.features.library import build

ROOT = Path(__file__).resolve().parents[1]
ASHARE = Path(__file__).resolve().parents[2] / "shared" / "data" / "ashare"
PEER = os.environ.get("HITHERTO_PEER_PYTHON")
LATE = 23  # first row of the last listing


def market():
    """70 rows x 4 names: halts, a late listing, coarse prices with ties, a stretch without any movement."""
    panel = make_panel(T=70, N=4, seed=3, halts=0.08)
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for k in ("open", "high", "low", "close"):
        fields[k][:, 1] = np.round(fields[k][:, 1])
        fields[k][30:50, 2] = fields[k][29, 2]
    for v in fields.values():
        v[:LATE, 3] = np.nan
    listed = panel.listed.copy()
    listed[:LATE, 3] = False
    return panel.replace(fields=fields, listed=listed, suspended=panel.suspended & listed, universe=listed.copy())


def frames(panel, n):
    """One table of open ... volume per listing, from its first row on."""
    start = int(panel.listed[:, n].argmax())
    return start, pd.DataFrame({k: v[start:, n] for k, v in panel.fields.items()})


def line(y):
    """Slope, R squared and last residual of the known values on their places."""
    y = y.to_numpy()
    x = np.arange(1.0, len(y) + 1)
    ok = ~np.isnan(y)
    if ok.sum() < 2:
        return np.nan, np.nan, np.nan
    slope, level = np.polyfit(x[ok], y[ok], 1)
    flat = np.ptp(y[ok]) == 0
    rsquare = np.nan if flat else np.corrcoef(x[ok], y[ok])[0, 1] ** 2
    return slope, rsquare, y[-1] - slope * x[-1] - level


def by_line(y, n, which):
    return pd.Series([line(y.iloc[max(0, t - n + 1) : t + 1])[which] for t in range(len(y))])


def place(y, n, best):
    """Position of the extreme in each window, 1 = the window's first known row."""
    out = pd.Series(np.nan, range(len(y)))
    for t in range(len(y)):
        w = y.iloc[max(0, t - n + 1) : t + 1].to_numpy()
        known = np.flatnonzero(~np.isnan(w))
        if len(known):
            out[t] = best(w) - known[0] + 1
    return out


def corr(a, b, n):
    return a.where(b.notna()).rolling(n, min_periods=1).corr(b)


def roll(y, n):
    return y.rolling(n, min_periods=1)


GOLDEN = {
    "KMID2": lambda d: (d.close - d.open) / (d.high - d.low + 1e-12),
    "KUP": lambda d: (d.high - d[["open", "close"]].max(axis=1)) / d.open,
    "KSFT": lambda d: (2 * d.close - d.high - d.low) / d.open,
    "VWAP0": lambda d: (d.open + d.high + d.low + d.close) / 4 / d.close,
    "ROC20": lambda d: d.close.shift(20) / d.close,
    "MA5": lambda d: roll(d.close, 5).mean() / d.close,
    "STD10": lambda d: roll(d.close, 10).std() / d.close,
    "BETA20": lambda d: by_line(d.close, 20, 0) / d.close,
    "RSQR10": lambda d: by_line(d.close, 10, 1),
    "RESI5": lambda d: by_line(d.close, 5, 2) / d.close,
    "MAX30": lambda d: roll(d.high, 30).max() / d.close,
    "QTLU10": lambda d: roll(d.close, 10).quantile(0.8) / d.close,
    "QTLD5": lambda d: roll(d.close, 5).quantile(0.2) / d.close,
    "RANK60": lambda d: roll(d.close, 60).rank(pct=True),
    "RSV20": lambda d: (d.close - roll(d.low, 20).min()) / (roll(d.high, 20).max() - roll(d.low, 20).min() + 1e-12),
    "IMAX10": lambda d: place(d.high, 10, np.nanargmax) / 10,
    "IMIN60": lambda d: place(d.low, 60, np.nanargmin) / 60,
    "CORR20": lambda d: corr(d.close, np.log(d.volume + 1), 20),
    "CORD60": lambda d: corr(d.close / d.close.shift(1), np.log(d.volume / d.volume.shift(1) + 1), 60),
    "CNTP10": lambda d: roll((d.close > d.close.shift(1)).astype(float), 10).mean(),
    "CNTD60": lambda d: roll(np.sign(d.close.diff()).fillna(0), 60).mean(),
    "SUMN20": lambda d: (
        roll((-d.close.diff()).clip(lower=0), 20).sum() / (roll(d.close.diff().abs(), 20).sum() + 1e-12)
    ),
    "VSTD5": lambda d: roll(d.volume, 5).std() / (d.volume + 1e-12),
    "VSUMD10": lambda d: roll(d.volume.diff(), 10).sum() / (roll(d.volume.diff().abs(), 10).sum() + 1e-12),
}


@pytest.mark.parametrize("column", GOLDEN)
def test_alpha158_equals_pandas(column):
    panel = market()
    got = build(panel, {column: alpha158(vwap="typical")[column]}).values[:, :, 0]
    for n in range(panel.shape[1]):
        start, table = frames(panel, n)
        with np.errstate(all="ignore"):
            want = GOLDEN[column](table).to_numpy(float)
        mine = got[start:, n]
        if column in ("CORR20", "RSQR10"):  # pandas leaves noise where nothing moves; the truth is "unknown"
            still = roll(table.close, int(column[4:])).apply(np.ptp, raw=False).to_numpy() == 0
            assert np.isnan(mine[still]).all()
            mine, want = mine[~still], want[~still]
        np.testing.assert_allclose(mine, want, rtol=1e-5, atol=1e-6, err_msg=f"{column} of name {n}")
        assert np.isnan(got[:start, n]).all()


def test_alpha158_has_158_columns_in_families_of_five():
    names = list(alpha158(vwap="typical"))
    assert len(names) == 9 + 4 + 29 * 5
    assert names[13:18] == ["ROC5", "ROC10", "ROC20", "ROC30", "ROC60"]


PLANTED = """
import json, numpy as np
from alpha158 import Oracle, alpha158, build, compare, first_hole, panel_of, random_market
panel = panel_of(random_market(0, 160, 12))
texts = alpha158(vwap="typical")
def seen(column, change):
    ours = build(panel, {column: texts[column]}).values[:, :, 0]
    peer = ours.copy()
    t, n = np.argwhere(panel.listed & np.isfinite(ours) & (np.abs(ours) > 0.01))[700]
    change(ours, peer, t, n)
    return compare(column, texts[column], panel, ours, peer, Oracle(panel))
def peer_off(ours, peer, t, n): peer[t, n] *= 1.01
def ours_off(ours, peer, t, n): ours[t, n] *= 1.01
def ours_gap(ours, peer, t, n): ours[t, n] = np.nan
def peer_gap(ours, peer, t, n): peer[t, n] = np.nan
def argmax_of_nan(ours, peer, t, n):
    hole = first_hole(panel, 60)
    peer[hole > 0] = (hole / 60)[hole > 0]
changes = (peer_off, ours_off, ours_gap, peer_gap)
out = {f.__name__: seen("MA5", f) for f in changes}
out["same"] = seen("MA5", lambda *_: None)
out["argmax_of_nan"] = seen("IMAX60", argmax_of_nan)
print(json.dumps(out))
"""


def test_the_witness_sees_planted_differences():
    done = subprocess.run(
        [sys.executable, "-c", PLANTED], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["same"]["missed"] == 0
    assert out["same"]["cells"] > 1000
    assert (out["peer_off"]["missed"], out["peer_off"]["farther"]) == (1, 0)
    assert (out["ours_off"]["missed"], out["ours_off"]["farther"]) == (1, 1)
    assert out["ours_gap"]["NaN of ours only: unexplained"] == 1
    assert out["peer_gap"]["NaN of pyqlib only: unexplained"] == 1
    holes = out["argmax_of_nan"]
    assert holes["missed"] == holes["value: window holds NaN"] > 100
    assert holes["farther"] == 0


@pytest.fixture(scope="module")
def witness():
    if PEER is None:
        pytest.skip("set HITHERTO_PEER_PYTHON to a Python that has pyqlib 0.9.7 to run the witness")
    command = [sys.executable, "alpha158.py", "--part", "witness", "--quick", "--peer-python", PEER]
    done = subprocess.run(command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]


@pytest.mark.parametrize("market", ["random 0", "ashare"])
def test_pyqlib_agrees(witness, market):
    if market == "ashare" and not ASHARE.exists():
        pytest.skip(f"no real data at {ASHARE}")
    lines = [x for x in witness if x["market"] == market]
    assert len(lines) == 158
    assert [x["column"] for x in lines if not x["pass"]] == []
