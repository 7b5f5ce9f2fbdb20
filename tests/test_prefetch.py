"""Prefetch: order, errors in their place, no thread and no open source left behind, how far it runs ahead."""

import gc
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitherto.errors import ConfigError
from hitherto.features.base import Features
from hitherto.train.prefetch import prefetch
from hitherto.windows import Windows


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


@given(st.lists(st.one_of(st.none(), st.integers())), st.integers(1, 5))
def test_the_order_is_unchanged_and_the_thread_ends(items, depth):
    assert list(prefetch(items, depth)) == items
    assert threads() == []


@given(st.integers(0, 10), st.integers(1, 3))
def test_an_error_of_the_source_is_raised_in_its_place(good, depth):
    def source():
        yield from range(good)
        raise OSError("disk gone")

    stream = prefetch(source(), depth)
    seen = [next(stream) for _ in range(good)]
    with pytest.raises(OSError, match="disk gone"):
        next(stream)
    assert seen == list(range(good))
    assert threads() == []


@pytest.mark.parametrize("how", ["close", "drop", "raise"])
def test_stopping_early_ends_the_thread_and_closes_the_source(how):
    closed = threading.Event()

    def source():
        try:
            yield from iter(int, 1)  # for ever
        finally:
            closed.set()

    stream = prefetch(source(), 2)
    assert next(stream) == 0
    assert len(threads()) == 1
    if how == "close":
        stream.close()
    elif how == "drop":
        del stream
        gc.collect()
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    assert threads() == []
    assert closed.is_set()


def test_nothing_starts_before_the_first_item_is_asked_for():
    def source():
        raise AssertionError("read too early")
        yield

    stream = prefetch(source())
    assert threads() == []
    stream.close()


@pytest.mark.parametrize("depth", [1, 3])
def test_it_runs_ahead_by_depth_in_one_thread(depth):
    made, names, far = [], set(), threading.Event()

    def source():
        for i in range(10):
            made.append(i)
            names.add(threading.current_thread().name)
            if i == depth:
                far.set()
            yield i

    stream = prefetch(source(), depth)
    next(stream)
    assert far.wait(10)  # item ``depth`` is made though nobody asked for it
    assert not threading.Event().wait(0.05)  # time enough for one item too many
    assert made == list(range(depth + 1))
    stream.close()
    assert len(names) == 1
    assert threading.current_thread().name not in names


class Item:
    """Something a weak reference can watch."""


def test_a_used_item_is_let_go():
    watched = []

    def source():
        for _ in range(6):
            item = Item()
            watched.append(weakref.ref(item))
            yield item
            del item

    for k, item in enumerate(prefetch(source())):
        assert item is watched[k]()
        assert all(r() is None for r in watched[: max(k - 1, 0)])
        del item


def panel(T=300, N=40, F=6):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, F), dtype=np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    return Windows(Features(x, tuple("abcdef"), (1,) * F), None, np.ones((T, N), bool), 10, labelled=False)


def test_batches_are_the_same_bits():
    w = panel()
    plain, ahead = (w.batches(100, np.random.default_rng(3)) for _ in range(2))
    for a, b in zip(plain, prefetch(ahead), strict=True):
        assert all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("x", "t", "n", "blocks"))


def test_memory_stays_at_two_batches_and_what_the_next_one_begins_with():
    w = panel()
    len(w)
    size = max(b.x.nbytes for b in w.batches(1000))
    tracemalloc.start()
    try:
        for batch in prefetch(w.batches(1000)):
            del batch
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size < peak < 3.5 * size


def test_messages():
    with pytest.raises(ConfigError, match=r"^prefetch: depth must be at least 1, got 0\.$"):
        prefetch([1], 0)
