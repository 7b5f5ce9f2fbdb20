"""Alpha158 and Alpha360: names and order of Qlib's columns, values against pandas one listing at a time, causality."""

import numpy as np
import pandas as pd
import pytest
from toys import make_panel

from hitherto.errors import ConfigError, DataError
from hitherto.features import library
from hitherto.features.alpha158 import alpha158, choose_vwap
from hitherto.features.alpha360 import alpha360, alpha360_panel
from hitherto.features.expression import Evaluator, parse

WINDOWS = (5, 10, 20, 30, 60)
FAMILIES = [
    "ROC", "MA", "STD", "BETA", "RSQR", "RESI", "MAX", "MIN", "QTLU", "QTLD", "RANK", "RSV", "IMAX", "IMIN", "IMXD",
    "CORR", "CORD", "CNTP", "CNTN", "CNTD", "SUMP", "SUMN", "SUMD", "VMA", "VSTD", "WVMA", "VSUMP", "VSUMN", "VSUMD",
]  # fmt: skip
ORDER = [
    "KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2", "OPEN0", "HIGH0", "LOW0", "VWAP0",
]  # fmt: skip
ORDER += [f"{family}{d}" for family in FAMILIES for d in WINDOWS]

IN_QLIB = {  # as Alpha158DL.get_feature_config of pyqlib 0.9.7 writes them
    "KMID2": "($close-$open)/($high-$low+1e-12)",
    "KUP": "($high-Greater($open, $close))/$open",
    "KLOW2": "(Less($open, $close)-$low)/($high-$low+1e-12)",
    "KSFT2": "(2*$close-$high-$low)/($high-$low+1e-12)",
    "VWAP0": "$vwap/$close",
    "ROC60": "Ref($close, 60)/$close",
    "STD5": "Std($close, 5)/$close",
    "BETA10": "Slope($close, 10)/$close",
    "RSQR10": "Rsquare($close, 10)",
    "RESI20": "Resi($close, 20)/$close",
    "MIN30": "Min($low, 30)/$close",
    "QTLD5": "Quantile($close, 5, 0.2)/$close",
    "RANK60": "Rank($close, 60)",
    "RSV5": "($close-Min($low, 5))/(Max($high, 5)-Min($low, 5)+1e-12)",
    "IMXD5": "(IdxMax($high, 5)-IdxMin($low, 5))/5",
    "CORR5": "Corr($close, Log($volume+1), 5)",
    "CORD10": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), 10)",
    "CNTD5": "Mean($close>Ref($close, 1), 5)-Mean($close<Ref($close, 1), 5)",
    "SUMN5": "Sum(Greater(Ref($close, 1)-$close, 0), 5)/(Sum(Abs($close-Ref($close, 1)), 5)+1e-12)",
    "SUMD10": "(Sum(Greater($close-Ref($close, 1), 0), 10)-Sum(Greater(Ref($close, 1)-$close, 0), 10))"
    "/(Sum(Abs($close-Ref($close, 1)), 10)+1e-12)",
    "VSTD20": "Std($volume, 20)/($volume+1e-12)",
    "WVMA5": "Std(Abs($close/Ref($close, 1)-1)*$volume, 5)/(Mean(Abs($close/Ref($close, 1)-1)*$volume, 5)+1e-12)",
    "VSUMP60": "Sum(Greater($volume-Ref($volume, 1), 0), 60)/(Sum(Abs($volume-Ref($volume, 1)), 60)+1e-12)",
}


def test_alpha158_is_qlibs_in_names_order_and_trees():
    ours = alpha158()
    assert list(ours) == ORDER
    assert len(ours) == 158
    for name, text in IN_QLIB.items():
        assert parse(ours[name]) == parse(text), name
    assert max(parse(t).lookback for t in ours.values()) == 61
    fields = {f for t in ours.values() for f in parse(t).fields}
    assert fields == {"open", "high", "low", "close", "volume", "vwap"}


def test_alpha360_is_qlibs_in_names_order_and_trees():
    ours = alpha360()
    fields = ("close", "open", "high", "low", "vwap", "volume")
    assert list(ours) == [f"{f.upper()}{k}" for f in fields for k in range(59, -1, -1)]
    for f in fields[:-1]:
        assert parse(ours[f"{f.upper()}59"]) == parse(f"Ref(${f}, 59)/$close")
        assert parse(ours[f"{f.upper()}0"]) == parse(f"${f}/$close")
    assert parse(ours["VOLUME59"]) == parse("Ref($volume, 59)/($volume+1e-12)")
    assert parse(ours["VOLUME0"]) == parse("$volume/($volume+1e-12)")
    assert max(parse(t).lookback for t in ours.values()) == 60


def test_vwap_is_a_field_amount_over_volume_or_the_typical_price():
    panel = make_panel(T=8, N=3)
    fields = dict(panel.fields)
    fields["amount"] = fields["volume"] * 7.0
    fields["vwap"] = fields["close"] * 0.5
    panel = panel.replace(fields=fields)
    typical = sum(fields[f] for f in ("open", "high", "low", "close")) / 4
    for vwap, want in (
        (None, 0.5),
        ("field", 0.5),
        ("amount", 7 / fields["close"]),
        ("typical", typical / fields["close"]),
    ):
        for texts in (alpha158(vwap), alpha360(vwap)):
            np.testing.assert_allclose(value(panel, texts["VWAP0"]), np.broadcast_to(want, panel.shape), rtol=1e-12)
    assert alpha360_panel("typical") == {
        "CLOSE": "close", "OPEN": "open", "HIGH": "high", "LOW": "low",
        "VWAP": "((open + high + low + close) / 4)", "VOLUME": "volume",
    }  # fmt: skip


def test_bars_without_vwap_are_asked_for_one():
    four = ("open", "high", "low", "close", "volume")
    with pytest.raises(ConfigError) as caught:
        choose_vwap(four, None, "alpha158")
    assert str(caught.value) == (
        "alpha158 needs vwap; these bars hold only open, high, low, close, volume. "
        "Say vwap = 'typical' ((open + high + low + close) / 4), or read bars that have it"
    )
    with pytest.raises(ConfigError, match=r"Say vwap = 'amount' \(amount / volume\) or 'typical' \(\("):
        choose_vwap((*four, "amount"), None, "alpha360")
    assert choose_vwap((*four, "vwap"), None, "alpha158") == "field"
    assert choose_vwap(four, "typical", "alpha158") == "typical"
    assert choose_vwap(("close",), None, "alpha158") == "field"  # the missing open is named instead
    with pytest.raises(ConfigError, match=r"^vwap must be one of field, amount, typical, got 'mean'$"):
        alpha158("mean")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^feature 'VWAP0' needs vwap; these bars hold only "):
        library.build(make_panel(T=5), alpha158())


def value(panel, text):
    parsed = parse(text)
    return Evaluator(panel, [parsed]).value(parsed)


def listings(seed, T=150):
    """Five listings with halts, ties, one late and one that ends early; and their frames, rows as listed."""
    panel = make_panel(T=T, N=5, seed=seed, halts=0.05)
    fields = {k: np.round(v, 2) for k, v in panel.fields.items()}
    listed = np.ones(panel.shape, bool)
    listed[:47, 3] = listed[90:, 4] = False
    fields = {k: np.where(listed, v, np.nan) for k, v in fields.items()}
    panel = panel.replace(fields=fields, listed=listed, universe=listed.copy(), suspended=panel.suspended & listed)
    return panel, [pd.DataFrame({k: v[listed[:, a], a] for k, v in fields.items()}) for a in range(5)]


def windows(x, d, f):
    """f(the last d values, fewer at the head) at every row."""
    return pd.Series([f(x.to_numpy()[max(0, t - d + 1) : t + 1]) for t in range(len(x))])


def line(w):
    """Slope, residual of the last row and R squared of the known values on their positions."""
    ok = np.isfinite(w)
    if ok.sum() < 2:
        return np.nan, np.nan, np.nan
    p, v = np.arange(len(w))[ok], w[ok]
    slope, level = np.polyfit(p - p.mean(), v, 1)
    fit = level + slope * (p - p.mean())
    spread = ((v - v.mean()) ** 2).sum()
    rsquare = 1 - ((v - fit) ** 2).sum() / spread if np.ptp(v) else np.nan
    return slope, w[-1] - level - slope * (len(w) - 1 - p.mean()), rsquare


def place(w, of):
    return np.nan if np.isnan(w).all() else of(w) + 1 - np.argmax(np.isfinite(w))


def corr(x, y, d):
    """Pandas' rolling correlation, one window at a time, so that no running sum rounds."""
    both = x.notna() & y.notna()
    x, y = x.where(both), y.where(both)
    out = []
    for t in range(len(x)):
        u, v = x.iloc[max(0, t - d + 1) : t + 1].dropna(), y.iloc[max(0, t - d + 1) : t + 1].dropna()
        flat = len(u) < 2 or np.ptp(u) == 0 or np.ptp(v) == 0
        out.append(np.nan if flat else np.corrcoef(u, v)[0, 1])
    return pd.Series(out)


def by_pandas(bars, d):
    """The 29 families at window d on one listing's frame."""
    h, lo, c, v = (bars[k] for k in ("high", "low", "close", "volume"))
    roll = {k: bars[k].rolling(d, min_periods=1) for k in bars}
    before, moved = c.shift(1), (c / c.shift(1) - 1).abs() * v
    fits = [line(c.to_numpy()[max(0, t - d + 1) : t + 1]) for t in range(len(c))]
    slope, resi, rsquare = (pd.Series(x) for x in zip(*fits, strict=True))
    low, high = roll["low"].min(), roll["high"].max()
    imax, imin = (windows(s, d, lambda w, of=of: place(w, of)) for s, of in ((h, np.nanargmax), (lo, np.nanargmin)))
    up, down = (c > before).astype(float), (c < before).astype(float)
    cntp, cntn = (s.rolling(d, min_periods=1).mean() for s in (up, down))
    out = {
        "ROC": c.shift(d) / c, "MA": roll["close"].mean() / c, "STD": roll["close"].std() / c, "BETA": slope / c,
        "RSQR": rsquare, "RESI": resi / c, "MAX": high / c, "MIN": low / c, "QTLU": roll["close"].quantile(0.8) / c,
        "QTLD": roll["close"].quantile(0.2) / c, "RANK": roll["close"].rank(pct=True),
        "RSV": (c - low) / (high - low + 1e-12), "IMAX": imax / d, "IMIN": imin / d, "IMXD": (imax - imin) / d,
        "CORR": corr(c, np.log(v + 1), d), "CORD": corr(c / before, np.log(v / v.shift(1) + 1), d),
        "CNTP": cntp, "CNTN": cntn, "CNTD": cntp - cntn,
        "VMA": roll["volume"].mean() / (v + 1e-12), "VSTD": roll["volume"].std() / (v + 1e-12),
        "WVMA": moved.rolling(d, min_periods=1).std() / (moved.rolling(d, min_periods=1).mean() + 1e-12),
    }  # fmt: skip
    for name, x in (("SUM", c), ("VSUM", v)):
        step = x.diff()
        sums = [s.rolling(d, min_periods=1).sum() for s in (step.clip(lower=0), (-step).clip(lower=0), step.abs())]
        out |= {f"{name}P": sums[0] / (sums[2] + 1e-12), f"{name}N": sums[1] / (sums[2] + 1e-12)}
        out[f"{name}D"] = (sums[0] - sums[1]) / (sums[2] + 1e-12)
    return out


def kbars(bars):
    o, h, lo, c = (bars[k] for k in ("open", "high", "low", "close"))
    top, bottom, span = np.maximum(o, c), np.minimum(o, c), h - lo + 1e-12
    return {
        "KMID": (c - o) / o, "KLEN": (h - lo) / o, "KMID2": (c - o) / span, "KUP": (h - top) / o,
        "KUP2": (h - top) / span, "KLOW": (bottom - lo) / o, "KLOW2": (bottom - lo) / span,
        "KSFT": (2 * c - h - lo) / o, "KSFT2": (2 * c - h - lo) / span, "OPEN0": o / c, "HIGH0": h / c, "LOW0": lo / c,
        "VWAP0": (o + h + lo + c) / 4 / c,
    }  # fmt: skip


@pytest.mark.parametrize("d", [0, *WINDOWS])
def test_alpha158_equals_pandas_on_each_listing(d):
    panel, frames = listings(seed=d)
    texts = alpha158("typical")
    wanted = [kbars(f) if d == 0 else by_pandas(f, d) for f in frames]
    assert set(wanted[0]) == set(FAMILIES if d else ORDER[:13])
    for family in wanted[0]:
        got = value(panel, texts[f"{family}{d or ''}"])
        assert np.isnan(got[:47, 3]).all(), family  # not listed yet
        for a in range(5):
            np.testing.assert_allclose(
                got[panel.listed[:, a], a], wanted[a][family], rtol=1e-8, atol=1e-8, err_msg=f"{family}{d} of {a}"
            )


def test_alpha360_holds_the_last_sixty_rows():
    panel, _ = listings(seed=7)
    texts = alpha360("typical")
    close, volume = panel.view("close"), panel.view("volume")
    for k in (0, 1, 30, 59):
        head = np.full((k, 5), np.nan)
        np.testing.assert_allclose(
            value(panel, texts[f"HIGH{k}"]), np.vstack([head, panel.view("high")[: 150 - k]]) / close, rtol=1e-14
        )
        np.testing.assert_allclose(
            value(panel, texts[f"VOLUME{k}"]), np.vstack([head, volume[: 150 - k]]) / (volume + 1e-12), rtol=1e-14
        )


def test_sets_are_causal_and_forget_what_left_the_window():
    panel, _ = listings(seed=1)
    for texts in (alpha158("typical"), {k: v for k, v in alpha360("typical").items() if k.endswith(("7", "59"))}):
        for name, text in texts.items():
            whole = value(panel, text)
            assert whole[:100].tobytes() == value(panel.rows(100), text).tobytes(), name
            head = int(parse(text).lookback) - 1
            assert whole[70 + head :].tobytes() == value(panel.since(70), text)[head:].tobytes(), name


def test_alpha158_is_free_of_the_price_scale():
    panel, _ = listings(seed=2)
    scaled = panel.replace(fields={k: v if k == "volume" else v * 3.7 for k, v in panel.fields.items()})
    for name, text in alpha158("typical").items():
        np.testing.assert_allclose(value(scaled, text), value(panel, text), rtol=1e-6, atol=1e-8, err_msg=name)
