import dataclasses
import json

import pytest
from worlds import study_of

from hitherto.errors import ConfigError
from hitherto.market import synthetic
from hitherto.models.linear import Ridge
from hitherto.models.recurrent import LSTM
from hitherto.study.core import Study, build_model
from hitherto.study.growing import START, changes, grow


def small(toy, lookback=10):
    net = LSTM(lookback=lookback, epochs=3, batch=512, learning_rate=0.01, patience=2)
    return study_of(toy, [net], split={"train": 700, "valid": 100, "test": 50, "folds": 1})


def test_it_grows_where_memory_pays_and_only_there():
    """The truth is a five-bar return: with one-bar returns as the only input, one row cannot know it."""
    toy = synthetic.linear(0, bars=900, symbols=20, strength=0.4)
    one = dataclasses.replace(toy, inputs=("close / ref(close, 1) - 1",))
    grown = grow(small(one), rounds=2)
    first = grown.steps[0]
    assert first.change == "no memory, one row"
    assert grown.table["lookback"] >= 5
    kept = [s for s in grown.steps[1:] if s.kept]
    assert kept[0].change.startswith("look back")
    assert all(s.gain.lo > 0 for s in kept)
    assert all(s.kept is False for s in grown.steps if s.gain is not None and s.gain.lo <= 0)
    assert "stopped: " in grown.to_text()
    assert json.loads(grown.to_json())["table"] == grown.table
    assert build_model(grown.table, "models.0").lookback == grown.table["lookback"]


def test_on_noise_it_stops_where_it_began():
    # a round tries at most 6 changes at 95 % shared among them: one passes by luck with probability 0.025 a seed, two
    # of three with 0.0019
    grown = [grow(small(synthetic.noise(seed, bars=900, symbols=10), 5)).table == START for seed in range(3)]
    assert sum(grown) >= 2


def test_it_never_reads_the_test(monkeypatch):
    toy = synthetic.linear(0, bars=900, symbols=8)
    study = small(toy, 2)
    before = grow(study, rounds=1)
    panel = study.panel
    fields = {k: v.copy() for k, v in panel.fields.items()}
    for values in fields.values():
        values[850:] *= 1.7
    tables = {**study.settings.model_dump(), "market": {}}
    other = Study(dataclasses.replace(panel, fields=fields), **tables)
    after = grow(other, rounds=1)
    assert [s.rank_ic for s in before.steps] == [s.rank_ic for s in after.steps]


def test_one_thing_at_a_time():
    seen = dict(changes(START, 20))
    assert list(seen) == ["look back 2 rows", "look back 5 rows", "look back 10 rows", "look back 20 rows", "width 16",
                          "2 layers"]  # fmt: skip
    assert seen["2 layers"]["hidden"] == [8, 8]
    cell = dict(changes({"kind": "rnn", "lookback": 20, "hidden": 16, "layers": 1}, 20))
    assert cell == {
        "width 32": {"kind": "rnn", "lookback": 20, "hidden": 32, "layers": 1},
        "gru cell": {"kind": "gru", "lookback": 20, "hidden": 16, "layers": 1},
        "2 layers": {"kind": "rnn", "lookback": 20, "hidden": 16, "layers": 2},
    }


def test_a_study_without_a_net():
    study = study_of(synthetic.noise(0, bars=400, symbols=5), [Ridge()],
                     split={"train": 200, "valid": 50, "test": 50, "folds": 1})  # fmt: skip
    with pytest.raises(ConfigError) as error:
        grow(study)
    assert str(error.value) == ("grow: study lists no net whose training settings to use; add kind = 'mlp' or 'lstm'")
