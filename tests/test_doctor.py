"""The doctor's facts and its sentence."""

import json

from hitherto.doctor import advise, examine


def test_advice_follows_the_measured_steps():
    assert advise({1: 10.0, 2: 40.0}, "PASSIVE") == (
        "2 threads make one LSTM 4.0x slower here: fit one model per core, one thread each."
    )
    assert "speed one LSTM up 1.2x, less than 2 models side by side would" in advise({1: 12.0, 2: 10.0}, "PASSIVE")
    assert "as good as models side by side" in advise({1: 20.0, 2: 10.0}, "PASSIVE")
    assert advise({1: 20.0}, None) == "one core: nothing to choose. Set OMP_WAIT_POLICY=PASSIVE before Python starts."


def test_the_examination_holds_what_it_promises():
    seen = examine()
    text = seen.to_text()
    for word in ("python", "torch", "device", "threads", "exchange.step", "extras", "1 thread", "advice:"):
        assert word in text
    body = json.loads(seen.to_json())
    assert set(body) == {"facts", "kernels", "extras", "lstm_step_ms", "advice"}
    assert all(ms > 0 for ms in seen.step_ms.values())
