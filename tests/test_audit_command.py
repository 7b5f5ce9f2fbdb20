"""``hitherto audit`` on a file of code and on a table of fills: exit codes, and the line that names the leak."""

import numpy as np
import polars as pl
import pytest
from toys import make_panel
from typer.testing import CliRunner

from hitherto.cli import app
from hitherto.errors import ConfigError
from hitherto.study.examining import examine

CENTRED = "def signal(frame):\n    return frame['close'].rolling(5, center=True).mean()\n"
TRAILING = "def score(frame):\n    return frame['close'].pct_change(5)\n"


def call(*words):
    return CliRunner().invoke(app, ["audit", *map(str, words)])


def test_a_file_that_looks_ahead_ends_with_exit_code_one(tmp_path):
    (tmp_path / "mine.py").write_text(CENTRED)
    done = call(tmp_path / "mine.py")
    assert done.exit_code == 1
    assert "LEAK L02 at mine.signal (mine.py:2) reach=+2 bars" in done.output
    assert "verdict: 1 leak was found." in done.output


def test_an_honest_function_of_a_file_passes_on_given_bars(tmp_path):
    (tmp_path / "mine.py").write_text(TRAILING)
    done = call(f"{tmp_path / 'mine.py'}:score", "--bars", "sample:us20")
    assert done.exit_code == 0
    assert "P12 files, network and clock" not in done.output.split("\nnot assessed:")[1]


def bars_and_fills(tmp_path, price):
    panel = make_panel(T=60, N=4, seed=1)
    days, close = panel.sessions, panel.fields["close"]
    rows = [(str(days[t]), s, *(panel.fields[f][t, n] for f in ("open", "high", "low", "close", "volume")))
            for t in range(60) for n, s in enumerate(panel.symbols)]  # fmt: skip
    names = ["date", "symbol", "open", "high", "low", "close", "volume"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(tmp_path / "bars.csv")
    fills = pl.DataFrame({
        "date": [str(d) for d in days[5:45:4]], "symbol": [panel.symbols[0]] * 10, "side": ["buy", "sell"] * 5,
        "shares": [100.0] * 10, "price": close[5:45:4, 0] * price,
    })  # fmt: skip
    fills.write_csv(tmp_path / "fills.csv")
    assert np.isfinite(close).all()


@pytest.mark.parametrize(("price", "code"), [(1.5, 1), (1.0, None)])
def test_fills_that_no_day_could_give_are_a_leak(tmp_path, price, code):
    bars_and_fills(tmp_path, price)
    done = call(tmp_path / "fills.csv", "--bars", tmp_path / "bars.csv")
    assert ("LEAK L22" in done.output) == (code == 1)
    if code:
        assert done.exit_code == code


def test_what_it_is_not_for_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"^audit: 'x.csv' holds fills; say against which bars with --bars$"):
        examine("x.csv")
    with pytest.raises(ConfigError, match=r"^audit: 'foo' is neither a study \(.toml\), a file of code \(.py\) nor"):
        examine("foo")
    with pytest.raises(ConfigError, match=r"^audit: --set changes the settings of a study file; this target has none$"):
        examine("x.py", ["a=1"])
    (tmp_path / "mine.py").write_text(TRAILING)
    with pytest.raises(ConfigError, match=r"level must be 'quick' or 'full', got 'deep'$"):
        examine(f"{tmp_path / 'mine.py'}:score", level="deep")


def test_the_page_says_the_same_and_text_stays_text(tmp_path):
    (tmp_path / "mine.py").write_text(CENTRED)
    done = call(tmp_path / "mine.py", "--html", tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text()
    assert done.exit_code == 1
    assert "LEAK L02 at mine.signal (mine.py:2) reach=+2 bars" in page
    assert "<h1>Audit of mine.py</h1>" in page
    assert (
        "L02: a window reaches past the decision (Kapoor &amp; Narayanan L2 features that are not legitimate)" in page
    )
    assert "mine.signal, likely mine.py:2 (by reading, not by experiment)" in page
    assert page.count("not assessed: no table of fills") == 3  # of all 32 classes: L22, L23, L29
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    report = examine(str(tmp_path / "mine.py"))
    hostile = report.to_html("<script>alert(1)</script>\u202e\x1b[31m")
    assert "<script" not in hostile
    assert "\u202e" not in hostile
    assert "\x1b" not in hostile


def test_a_path_is_audited_and_its_children_end(tmp_path, monkeypatch):
    from hitherto.audit import FileTarget, audit

    (tmp_path / "mine.py").write_text(CENTRED)
    ended, close = [], FileTarget.close
    monkeypatch.setattr(FileTarget, "close", lambda self: (ended.append(self.name), close(self)))
    assert audit(str(tmp_path / "mine.py")).exit_code == 1
    assert "mine" in ended
