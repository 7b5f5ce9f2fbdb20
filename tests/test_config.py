"""Study files: what is accepted, what is refused, and with which words."""

import datetime as dt
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.config import dump_toml, override, read_toml, validate
from hitherto.errors import ConfigError

TABLES = {"market": {"bars": "x.csv"}, "features": {"set": "close_only"}, "models": [{"kind": "lstm"}]}


def test_defaults_and_round_trip():
    settings = validate(TABLES)
    assert settings.seed == 7
    assert settings.exchange.fill == "next_close"
    assert validate(tomllib.loads(dump_toml(settings.model_dump()))) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sede": 3}, "study: unknown setting 'sede'; did you mean 'seed'?"),
        ({"market": {"bars": "x", "bar": "y"}}, "study: unknown setting 'market.bar'; did you mean 'bars'?"),
        ({"market": {}}, "study: setting 'market.bars' is missing"),
        ({"seed": "7"}, "study: setting 'seed': Input should be a valid integer, got '7'"),
        (
            {"features": {}},
            "study: setting 'features': name a set (features.set) or give expressions (features.expressions)",
        ),
    ],
)
def test_messages(change, message):
    with pytest.raises(ConfigError) as e:
        validate({**TABLES, **change})
    assert str(e.value) == message


def test_override_reads_toml_values_and_strings():
    out = override(TABLES, ["seed=9", "market.start=2011-01-02", "market.bars=other.csv", "models.0.hidden=8"])
    assert out["seed"] == 9
    assert out["market"] == {"bars": "other.csv", "start": dt.date(2011, 1, 2)}
    assert out["models"][0]["hidden"] == 8
    assert "seed" not in TABLES
    assert "hidden" not in TABLES["models"][0]


@pytest.mark.parametrize("text", ["seed", "=3", "a b=3", "models.4.x=1", "models.kind=1", "market.bars.x=1"])
def test_bad_overrides(text):
    with pytest.raises(ConfigError, match="--set"):
        override(TABLES, [text])


def test_read_toml_names_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such study file"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 8"):
        read_toml(tmp_path / "latin.toml")


texts = st.text(max_size=20)
leaves = st.one_of(st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), texts, st.dates())
values = st.one_of(leaves, st.lists(leaves, max_size=3))
tables = st.dictionaries(texts, st.one_of(values, st.dictionaries(texts, values, max_size=3)), max_size=4)


@given(tables)
def test_dump_toml_round_trips_anything(table):
    assert tomllib.loads(dump_toml(table)) == table
