"""Nets train where only numpy and torch are: every other import is refused in a child, and all must still work.

Run as a script, ``python tests/test_numpy_and_torch_only.py`` in any Python 3.11+ that has torch and finds hitherto,
this file is that child: it prints JSON, and what it needs beside the standard library is what it allows.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path

OURS = ("hitherto.models", "hitherto.train")
ALSO = ("hitherto.windows", "hitherto.compute", "hitherto.seeds", "hitherto.errors")
TORCH_NEEDS = {
    "torch", "torchgen", "functorch", "triton", "nvidia", "typing_extensions", "sympy", "mpmath", "jinja2",
    "markupsafe", "networkx", "fsspec", "filelock", "setuptools", "_distutils_hack",
}  # fmt: skip
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "hitherto", "__main__"} | TORCH_NEEDS
NEEDS = {"Ridge": "scipy", "MarkovRidge": "scipy", "LightGBM": "lightgbm"}  # models whose fit is another package's


class Refuse:
    """A finder asked before the real ones, who says of every module that is not allowed that there is none."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r} (refused)", name=name)


def modules():
    """Every module of models and train, and the few others that they stand on."""
    names = list(ALSO)
    for package in OURS:
        names.append(package)
        names += [f"{package}.{m.name}" for m in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    return names


def settings(module):
    """The models that a module defines: dataclasses with fit, whose every setting has a default (not the bare Net)."""
    for _, cls in inspect.getmembers(module, inspect.isclass):
        if cls.__module__ != module.__name__ or not dataclasses.is_dataclass(cls) or not hasattr(cls, "fit"):
            continue
        required = [f for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
        if not required and cls.__name__ != "Net":
            yield cls


def made():
    """Train, validation and test windows of noise, 3 inputs, built by hand."""
    import numpy as np

    from hitherto.features.base import Features
    from hitherto.labels import Label
    from hitherto.windows import Windows

    T, N, F = 60, 5, 3
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, N, F), dtype=np.float32)
    t = np.broadcast_to(np.arange(T, dtype=np.int32)[:, None, None], (T, N, 1))
    label = Label(rng.standard_normal((T, N, 1)), t + 1, t + 2, ("return_1",), (1,))
    features = Features(x, ("a", "b", "c"), (1,) * F)
    row = np.arange(T)[:, None] + np.zeros(N, int)
    everything = Windows(features, label, row < 40, 20)
    return everything, everything.with_(mask=(row >= 40) & (row < 50)), everything.with_(mask=row >= 50, labelled=False)


def fit_one(cls):
    """The number of finite predictions of one tiny fit, or what stopped it."""
    import numpy as np

    from hitherto.models.base import Context
    from hitherto.seeds import Stream

    named = {f.name for f in dataclasses.fields(cls)}
    tiny = {k: v for k, v in {"epochs": 1, "batch": 64, "patience": 1}.items() if k in named}
    train, valid, test = made()
    model = cls(**tiny)
    lookback = model.lookback
    train, valid, test = (w.with_(lookback=lookback) for w in (train, valid, test))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        predicted = model.fit(train, valid, rng=Stream(0), context=Context()).predict(test)
    return int(np.isfinite(predicted).sum())


def attempt(function, *arguments):
    """The result, or one line on the failure and where in hitherto it came from."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001  a child reports whatever happens
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "hitherto" in f.filename]
        return f"{type(error).__name__}: {error} ({' > '.join(where)})"


def child():
    before = set(sys.modules)  # what a virtual environment's own start-up brought
    sys.meta_path.insert(0, Refuse())
    loaded = {name: attempt(importlib.import_module, name) for name in modules()}
    fits = {}
    for module in loaded.values():
        if inspect.ismodule(module):
            fits |= {cls.__name__: attempt(fit_one, cls) for cls in settings(module)}
    strange = sorted({name.split(".")[0] for name in set(sys.modules) - before} - ALLOWED)
    return {
        "python": sys.version.split()[0],
        "torch": str(sys.modules["torch"].__version__) if "torch" in sys.modules else None,
        "imports": {name: None if inspect.ismodule(module) else module for name, module in loaded.items()},
        "fits": fits,
        "strange": [name for name in strange if getattr(sys.modules.get(name), "__spec__", None) is not None],
    }


def run_child(code=None):
    source = Path(__file__).resolve().parents[1] / "src"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", code] if code else [sys.executable, __file__]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_numpy_and_torch_are_enough():
    done = run_child()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    failed = {name: error for name, error in seen["imports"].items() if error}
    assert not failed, "\n".join(f"{name}: {error}" for name, error in failed.items())
    assert seen["strange"] == []
    from hitherto.study.core import KINDS

    every = {name for _, name in KINDS.values()} - {"Ensemble"}  # it has no default: of which model?
    assert every <= set(seen["fits"])
    for name, result in seen["fits"].items():
        if name in NEEDS:  # the planted failures: what is refused is missed, under its name
            assert f"No module named '{NEEDS[name]}'" in str(result), f"{name}: {result}"
        else:
            assert result == 10 * 5, f"{name}: {result}"


def test_the_refusal_refuses():
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); from test_numpy_and_torch_only import Refuse; "
    done = run_child(code + "sys.meta_path.insert(0, Refuse()); import numpy; import polars")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'polars' (refused)" in done.stderr


if __name__ == "__main__":
    print(json.dumps(child(), indent=1))  # noqa: T201
