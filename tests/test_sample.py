"""The embedded data: what the card says is what is there."""

from importlib import resources

import numpy as np
import pytest

from hitherto.errors import DataError
from hitherto.market import sample
from hitherto.panel import from_bars


def test_twenty_us_stocks():
    bars = sample.load("us20")
    assert (len(bars.times), len(bars.symbols), len(bars.row)) == (5785, 20, 115_700)
    assert (str(bars.sessions[0]), str(bars.sessions[-1])) == ("2000-01-03", "2022-12-28")
    assert list(bars.values) == ["close"]
    assert (bars.adjustment, bars.zone) == ("restated_total_return", "America/New_York")
    # As printed in the source's CSV: exact, though stored as decimals.
    close = from_bars(bars).fields["close"]
    assert close[0, bars.symbols.index("AAPL")] == 0.849
    assert close[-1, bars.symbols.index("XOM")] == 106.627
    assert np.array_equal(close, np.rint(close * 1000) / 1000)
    found = {f.code: f for f in bars.findings}
    assert found["survivorship"].count == 20
    assert found["quantised_prices"].count == 973
    assert found["quantised_prices"].where.startswith("AAPL 2000")


def test_the_decision_is_at_four_in_new_york():
    bars = sample.load("us20")
    winter, summer = (int(np.flatnonzero(bars.sessions == np.datetime64(d))[0]) for d in ("2020-01-02", "2020-07-01"))
    assert bars.times[winter] == np.datetime64("2020-01-02T21:00", "ns").astype(int)
    assert bars.times[summer] == np.datetime64("2020-07-01T20:00", "ns").astype(int)


def test_the_index():
    bars = sample.load("sp500")
    assert (len(bars.times), bars.symbols) == (5031, ("SP500",))
    assert list(bars.values) == ["open", "high", "low", "close", "volume"]
    assert bars.values["close"][-1] == 2506.850098
    assert bars.adjustment == "raw"
    assert bars.findings == ()


def test_names_card_and_licences():
    assert sample.names() == ("us20", "sp500")
    card = sample.card()
    for said in ("115,700", "5,785", "5,031", "skfolio 1.12.2", "arch 8.0.0", "973 days", "Survivorship"):
        assert said in card
    for symbol in sample.load("us20").symbols:
        assert symbol in card
    notices = sample.licences()
    for said in ("BSD 3-Clause License", "The skfolio developers", "Kevin Sheppard", "2017"):
        assert said in notices


def test_it_is_small():
    folder = resources.files("hitherto.market.sample")
    sizes = [len(f.read_bytes()) for f in folder.iterdir() if f.is_file()]
    assert sum(sizes) < 1_000_000


def test_an_unknown_sample():
    with pytest.raises(DataError, match=r"^sample 'us500' is not embedded; there are us20, sp500$"):
        sample.load("us500")
