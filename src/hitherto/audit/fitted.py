"""Fitted state: what an object learned, leaf by leaf, so that two fits can be compared and the mover be named.

Attributes are walked in the order in which they were set, which for most code is the order in which they were fitted:
the first one that moved is the cause, the rest follows from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

DEPTH = 8
COUNTS = ("best_iteration", "best_score", "best_epoch", "best_round", "n_iter_", "n_estimators_")
ROUNDS = ("round", "epoch", "iter", "step", "tree", "stop", "estimator")  # a whole number of these is a count
SAMPLES = ("n_samples", "n_rows")  # whole numbers that nobody chose
PICKS = ("scores_", "pvalues_", "support_", "support_mask_", "ranking_", "n_features_in_")
TABLES = ("encodings_", "target_mean_")


class Leaf(NamedTuple):
    """One fitted value: its kind and its digest.

    Kinds: "count" of rounds, "choice" of columns, "names" of listings, "table" keyed by a category, "option" (a
    setting), "scalar" (a lone number that may be one), "number".
    """

    kind: str
    digest: str


def leaves(thing: Any, symbols: Iterable[str] = ()) -> dict[str, Leaf]:
    """Return path -> leaf of everything an object holds, such as "scaler.mean_" or "steps.pca.components_".

    Read: ``__dict__``, mappings, sequences, arrays, pandas objects, tensors, scalars, text, LightGBM boosters and
    scikit-learn trees; at most 8 levels deep. Functions, modules and what cannot be read are left out. symbols: names
    of listings; a mapping keyed by them (or by numbers) is a "table", as an encoding of a category is.
    """
    out: dict[str, Leaf] = {}
    names = frozenset(symbols)
    for path, kind, data in _walk("", thing, frozenset(), names):
        out[path or "itself"] = Leaf(kind, hashlib.sha256(data).hexdigest())
    return out


def moved(before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> list[str]:
    """Return the paths that differ, in the order of ``before``, then the new ones."""
    paths = [*before, *(p for p in after if p not in before)]
    return [p for p in paths if before.get(p, (None, ""))[1] != after.get(p, (None, ""))[1]]


def cause(before: Mapping[str, Leaf], after: Mapping[str, Leaf]) -> tuple[str, str] | None:
    """Return (leak class, path) of the learner that moved first; None when nothing moved.

    "L20": a number of rounds or epochs moved; "L18": a choice of columns or listings; "L17": a table keyed by a
    category; "L05": anything else. It names a likely class, from names and shapes; that something leaks is shown
    elsewhere, and ``audit.followup`` tries what would tell classes apart.
    """
    paths = moved(before, after)
    if not paths:
        return None
    first = [p for p in paths if _part(p) == _part(paths[0])]
    kinds = {p: (before.get(p) or after[p]).kind for p in first}
    for kind, leak in (("count", "L20"), ("choice", "L18"), ("names", "L18"), ("table", "L17")):
        mine = [p for p in first if kinds[p] == kind and not solver(p, before)]
        if mine:
            return leak, mine[0]
    return "L05", first[0]


def solver(path: str, state: Mapping[str, Leaf]) -> bool:
    """Whether a count is the iterations of a solver, which follow the data: its learner knows no early stopping."""
    if not path.endswith("n_iter_"):
        return False
    return not any("early_stopping" in p or "validation_score" in p for p in state if _part(p) == _part(path))


def _part(path: str) -> str:
    """The learner a path belongs to: the step of a pipeline, else the first attribute."""
    words = path.split(".")
    at = words.index("steps") + 2 if "steps" in words[:-1] else 1
    return ".".join(words[:at])


def _walk(path: str, value: Any, above: frozenset[int], names: frozenset[str]) -> Iterator[tuple[str, str, bytes]]:
    if callable(value) and not hasattr(value, "__dict__"):
        return
    if isinstance(value, type) or type(value).__name__ in ("function", "module", "builtin_function_or_method"):
        return
    plain = _plain(value)
    if plain is not None:
        yield path, _kind(path, value, names), plain
        best = getattr(value, "best_iteration", None)
        if isinstance(best, int):  # a booster's; -1 or 0 without early stopping
            yield _join(path, "best_iteration"), "count", repr(best).encode()
        return
    if id(value) in above or len(above) >= DEPTH:
        return
    inside, settings = above | {id(value)}, _settings(value)
    for name, part in _parts(value, names):
        if isinstance(part, _Table):
            yield _join(path, name), "table", part.data
        elif name in settings and isinstance(part, (str, bool, int, float)):
            kind = _kind(_join(path, name), part, names)
            yield _join(path, name), kind if kind == "count" else "option", repr(part).encode()
        else:
            yield from _walk(_join(path, name), part, inside, names)


class _Table(NamedTuple):
    data: bytes


def _settings(value: Any) -> frozenset[str]:
    """The names of an estimator's constructor arguments: what it was told, not what it learned."""
    ask = getattr(type(value), "_get_param_names", None)  # scikit-learn's protocol; no instance is asked
    try:
        return frozenset(ask()) if ask is not None else frozenset()
    except Exception:  # noqa: BLE001  somebody else's signature
        return frozenset()


def _parts(value: Any, names: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a compound value by name."""
    if hasattr(value, "to_numpy") and hasattr(value, "index"):  # pandas
        keys = list(value.index) if not callable(value.index) else []
        data = repr((list(map(str, keys)), list(map(str, getattr(value, "columns", []))))).encode()
        data += _array(value.to_numpy()) or b""
        yield "", _Table(data) if _by_category(keys, names) else data
    elif hasattr(value, "get_level_values") and hasattr(value, "tolist"):  # a pandas index
        yield "", value.to_numpy() if value.nlevels == 1 else repr(value.tolist()).encode()
    elif isinstance(value, Mapping):
        if _by_category(list(value), names):
            yield "", _Table(b"".join(repr(k).encode() + (_plain(v) or b"") for k, v in value.items()))
        else:
            yield from ((str(k), v) for k, v in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        for i, item in enumerate(items):
            if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):  # the step of a pipeline
                yield item
            else:
                yield str(i), item
    elif hasattr(value, "get_arrays") and hasattr(value, "get_tree_stats"):  # a search tree: it counts its calls
        yield "", list(value.get_arrays())
    elif hasattr(value, "__dict__") and vars(value):
        yield from vars(value).items()
    elif hasattr(value, "__getstate__"):
        try:
            state = value.__getstate__()
        except Exception:  # noqa: BLE001  foreign objects may refuse; what cannot be read is left out
            return
        if isinstance(state, (Mapping, list, tuple)) and state:
            yield "", state


def _plain(value: Any) -> bytes | None:
    """The bytes of a value that has no parts; None for a compound one."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return value if isinstance(value, bytes) else repr(value).encode()
    if hasattr(value, "model_to_string"):  # a LightGBM booster
        return _without_settings(value.model_to_string())
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, (str, bool, int, float)) for v in value):
        return repr(list(value)).encode()
    if isinstance(value, (set, frozenset)) and all(isinstance(v, (str, int)) for v in value):
        return repr(sorted(value, key=repr)).encode()
    return None


def _array(values: np.ndarray) -> bytes | None:
    if values.dtype == object:
        return repr(values.tolist()).encode()
    return str(values.dtype).encode() + repr(values.shape).encode() + np.ascontiguousarray(values).tobytes()


def _without_settings(text: str) -> bytes:
    """A booster's trees; the settings and the names of its columns follow them and are not learned."""
    return text.split("\nparameters:")[0].encode()


def _kind(path: str, value: Any, names: frozenset[str]) -> str:
    last = path.rsplit(".", 1)[-1]
    if any(c in path for c in COUNTS):
        return "count"
    if last in PICKS:
        return "choice"
    if any(t in path for t in TABLES):
        return "table"
    if isinstance(value, (bool, np.bool_)):
        return "option"
    if isinstance(value, (int, np.integer)):
        if any(w in last for w in SAMPLES):
            return "number"
        return "count" if any(w in last.lower() for w in ROUNDS) else "option"
    if isinstance(value, (float, np.floating)):
        return "number" if last.endswith("_") else "scalar"  # what scikit-learn learns ends so
    if isinstance(value, str):
        return "option"
    return _kind_of_many(value, names)


def _kind_of_many(value: Any, names: frozenset[str]) -> str:
    items = value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "bUO" else value
    if isinstance(items, (list, tuple, set, frozenset)) and all(isinstance(v, (str, bool)) for v in items):
        return "names" if items and names.issuperset(items) else "choice"
    chosen = isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.ndim == 1
    numbers = isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value)
    return "choice" if chosen or numbers else "number"


def _by_category(keys: list[Any], names: frozenset[str]) -> bool:
    """Whether a mapping is keyed by listings or by numbers that do not merely count up."""
    if not keys or keys == list(range(len(keys))):
        return False
    return any(isinstance(k, str) and k in names for k in keys) or all(
        isinstance(k, (int, np.integer, float)) or type(k).__name__ == "Interval" for k in keys
    )


def _join(path: str, name: str) -> str:
    return ".".join(p for p in (path, name) if p)
