"""Signs of leaks in source text, class by class: what ``audit.locate`` looks for, the strongest sign first.

A sign is a question to one node of a syntax tree. It may well be honest where it stands (a label is a negative shift
too): it is asked only where an experiment has shown that something leaks.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

Known = Mapping[str, float]  # names that hold a number
Sign = Callable[[ast.AST, Known], bool]

WINDOWS = frozenset(("rolling", "expanding", "ewm", "resample", "cumsum", "cummax", "cummin"))
STATISTICS = frozenset((
    "mean", "std", "var", "min", "max", "median", "quantile", "sum", "nanmean", "nanstd", "nanmin", "nanmax",
    "nanmedian", "nanquantile", "percentile", "nanpercentile", "average", "amin", "amax", "std_mean", "var_mean",
    "corr", "autocorr", "cov", "corrcoef", "norm", "skew", "kurt",
))  # fmt: skip


def constants(tree: ast.AST) -> dict[str, float]:
    """Return name -> number for names that are assigned one plain number."""
    out: dict[str, float] = {}
    for n in ast.walk(tree):
        if not isinstance(n, ast.Assign):
            continue
        for target in n.targets:
            pairs = [(target, n.value)]
            if isinstance(target, ast.Tuple) and isinstance(n.value, ast.Tuple):
                pairs = list(zip(target.elts, n.value.elts, strict=False))
            for a, b in pairs:
                value = number(b, out)
                if isinstance(a, ast.Name) and value is not None:
                    out[a.id] = value
    return out


def number(node: ast.AST | None, known: Known) -> float | None:
    """Return the number that an expression of constants is, else None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand, known)
        return None if inner is None else -inner
    if isinstance(node, ast.BinOp):
        a, b = number(node.left, known), number(node.right, known)
        if a is not None and b is not None:
            if isinstance(node.op, ast.Add):
                return a + b
            if isinstance(node.op, ast.Sub):
                return a - b
            if isinstance(node.op, ast.Mult):
                return a * b
    return None


def called(node: ast.AST) -> str:
    """Return the last name of what is called, "" for no call."""
    if not isinstance(node, ast.Call):
        return ""
    f = node.func
    return f.attr if isinstance(f, ast.Attribute) else f.id if isinstance(f, ast.Name) else ""


def given(node: ast.AST, key: str) -> ast.AST | None:
    """Return a keyword's value."""
    return next((k.value for k in getattr(node, "keywords", []) if k.arg == key), None)


def says(node: ast.AST | None, *values: object) -> bool:
    """Whether a node is one of these constants."""
    return isinstance(node, ast.Constant) and any(node.value is v or node.value == v for v in values)


def calls(*names: str) -> Sign:
    """A call of one of these names."""
    return lambda node, _: called(node) in names


def calls_with(name: str, key: str, *values: object) -> Sign:
    """A call of ``name`` with ``key`` set to one of ``values`` (none given: to anything)."""

    def sign(node: ast.AST, _: Known) -> bool:
        value = given(node, key)
        return called(node) == name and value is not None and (not values or says(value, *values))

    return sign


def negative_shift(node: ast.AST, known: Known) -> bool:
    """``shift(-n)``, ``pct_change(-n)``, ``diff(-n)``, ``roll(x, -n)``."""
    name = called(node)
    if name not in ("shift", "pct_change", "diff", "roll", "tshift"):
        return False
    args = list(node.args)  # type: ignore[attr-defined]
    by = given(node, "periods") or given(node, "shift") or given(node, "shifts")
    if by is None and name == "roll":
        by = args[1] if len(args) > 1 else args[0] if args and isinstance(node.func, ast.Attribute) else None  # type: ignore[attr-defined]
    elif by is None:
        by = args[0] if args else None
    value = number(by, known)
    return value < 0 if value is not None else isinstance(by, ast.UnaryOp) and isinstance(by.op, ast.USub)


def unknown_shift(node: ast.AST, known: Known) -> bool:
    """A shift by something computed."""
    if called(node) not in ("shift", "pct_change", "diff", "roll"):
        return False
    args = node.args  # type: ignore[attr-defined]
    return bool(args) and number(args[-1], known) is None


def ahead(node: ast.AST, known: Known) -> bool:
    """An index or a slice that ends after its own row: ``x[t + 1]``, ``x[a : t + 2]``, ``x[1:]``."""
    if not isinstance(node, ast.Subscript):
        return False
    return any(
        _ends_later(part, known) if isinstance(part, ast.Slice) else (_plus(part, known) or 0) >= 1
        for part in (node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice])
    )


def _ends_later(part: ast.Slice, known: Known) -> bool:
    """A slice up to ``t + 2`` or more (``t + 1`` is the row itself), or from 1 on to the end."""
    if part.upper is None:
        return part.step is None and (number(part.lower, known) or 0) >= 1
    return (_plus(part.upper, known) or 0) > 1


def _plus(node: ast.AST, known: Known) -> float | None:
    """k of ``something + k``."""
    if number(node, known) is None and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return number(node.right, known)
    return None


def backwards(node: ast.AST, known: Known) -> bool:
    """``x[::-1]`` or a flip."""
    if called(node) in ("flip", "flipud", "fliplr", "reversed"):
        return True
    if not isinstance(node, ast.Subscript):
        return False
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return any(isinstance(p, ast.Slice) and number(p.step, known) == -1 for p in parts)


def last_row(node: ast.AST, known: Known) -> bool:
    """``x.iloc[-1]``, ``x[-1]`` or ``transform("last")``."""
    if called(node) in ("transform", "agg") and node.args and says(node.args[0], "last"):  # type: ignore[attr-defined]
        return True
    if called(node) == "last":
        return True
    return isinstance(node, ast.Subscript) and number(node.slice, known) == -1


def whole(node: ast.AST, known: Known) -> bool:
    """A statistic without a window: ``x.mean()``, ``np.std(x)``; not along axis 1, not of a part of the rows."""
    if called(node) not in STATISTICS or says(given(node, "axis"), 1):
        return False
    f = node.func  # type: ignore[attr-defined]
    of = f.value if isinstance(f, ast.Attribute) and not _library(f.value) else None
    of = of if of is not None else next(iter(node.args), None)  # type: ignore[attr-defined]
    return of is not None and not any(_limited(n, known) for n in ast.walk(of))


def whole_rank(node: ast.AST, known: Known) -> bool:
    """``x.rank()`` without a window, not across names."""
    across = says(given(node, "axis"), 1)
    return called(node) == "rank" and not across and not any(_limited(m, known) for m in ast.walk(node))


def _limited(node: ast.AST, known: Known) -> bool:
    if called(node) in WINDOWS:
        return True
    return isinstance(node, ast.Slice) and (node.upper is not None or number(node.lower, known) is not None)


def _library(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "numpy", "torch", "pd", "pandas", "stats", "math")


def padded(node: ast.AST, known: Known) -> bool:
    """A convolution or pool with padding on both sides."""
    name = called(node)
    if not name.lower().startswith(("conv", "avgpool", "maxpool", "avg_pool", "max_pool")):
        return False
    padding = given(node, "padding")
    return padding is not None and number(padding, known) != 0


def bidirectional(node: ast.AST, known: Known) -> bool:
    """``bidirectional=True``."""
    value = given(node, "bidirectional")
    return value is not None and not says(value, False)


def dated_at_start(node: ast.AST, known: Known) -> bool:
    """A resampling or a grouper whose bars carry the date of their beginning."""
    if called(node) not in ("resample", "Grouper"):
        return False
    return not says(given(node, "label"), "right")


def joined_forward(node: ast.AST, known: Known) -> bool:
    """``merge_asof(direction="forward" or "nearest")``, ``reindex(method="bfill" or "nearest")``."""
    how = (given(node, "direction"), given(node, "method"))
    return any(says(h, "forward", "nearest", "bfill", "backfill") for h in how)


def of_period(node: ast.AST, known: Known) -> bool:
    """Rows taken to their week or month: ``to_period``, ``dt.month``, ``astype("datetime64[M]")``, ``i // 5``."""
    if called(node) in ("to_period", "isocalendar", "floor"):
        return True
    if called(node) == "astype" and node.args and says(node.args[0], "datetime64[M]", "datetime64[W]"):  # type: ignore[attr-defined]
        return True
    if isinstance(node, ast.Attribute) and node.attr in ("month", "week", "quarter"):
        return True
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv) and (number(node.right, known) or 0) > 1


def sets_state(node: ast.AST, known: Known) -> bool:
    """``self.n += 1``, ``self.bank[i] = x``: an attribute that is changed, not made."""
    if isinstance(node, ast.AugAssign):
        return _own(node.target)
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Subscript) and _own(t.value) for t in node.targets)


def _own(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def adds_in_place(node: ast.AST, known: Known) -> bool:
    """``buffer.mul_(...)``, ``buffer.copy_(...)``."""
    return called(node) in ("mul_", "add_", "copy_", "lerp_", "fill_", "append")


def about(*words: str) -> Sign:
    """A column or name that holds one of these words."""

    def sign(node: ast.AST, _: Known) -> bool:
        text = node.value if isinstance(node, ast.Constant) else getattr(node, "attr", None)
        return isinstance(text, str) and len(text) < 40 and any(w in text.lower() for w in words)

    return sign


def counts_rows(node: ast.AST, known: Known) -> bool:
    """``len(x)``, ``x.shape``, ``x.size``, ``cumcount``: the number of rows."""
    if called(node) in ("len", "cumcount", "nunique"):
        return True
    return isinstance(node, ast.Attribute) and node.attr in ("shape", "size")


_AHEAD = (negative_shift, calls("FixedForwardWindowIndexer", "gradient"))
_PEEK = (*_AHEAD, backwards, unknown_shift, ahead, joined_forward, of_period)
_FITS = calls("fit_transform", "fit", "fit_predict")
_SPLITS = calls("KFold", "TimeSeriesSplit", "train_test_split", "GroupKFold", "StratifiedKFold", "WalkForward", "split")
_CHOOSES = calls("argmin", "argmax", "idxmin", "idxmax", "min", "max", "nlargest", "sorted")
_OUTSIDE = calls("open", "read_csv", "read_parquet", "read_text", "read_bytes", "read_pickle", "load", "loadtxt",
                 "urlopen", "get", "now", "today", "time", "perf_counter", "getenv", "getpid", "utcnow")  # fmt: skip
_RANDOM = calls("rand", "randn", "random", "normal", "standard_normal", "default_rng", "shuffle", "permutation",
                "choice", "randint", "randn_like", "rand_like", "bernoulli", "hash", "set", "randperm")  # fmt: skip

_CENTRED = calls("filtfilt", "sosfiltfilt", "savgol_filter", "gaussian_filter1d", "gaussian_filter", "median_filter",
                 "uniform_filter1d", "medfilt", "argrelextrema", "find_peaks", "hilbert", "lowess",
                 "seasonal_decompose")  # fmt: skip
_ATTENTION = calls("MultiheadAttention", "scaled_dot_product_attention", "Transformer", "TransformerEncoder",
                   "TransformerEncoderLayer", "TransformerDecoder", "TransformerDecoderLayer")  # fmt: skip

SIGNS: Mapping[str, tuple[Sign, ...]] = {
    "L01": _PEEK,
    "L02": (
        calls_with("rolling", "center", True), _CENTRED, calls_with("convolve", "mode", "same"),
        lambda n, k: called(n) == "convolve" and any(says(a, "same") for a in n.args),  # type: ignore[attr-defined]
        *_AHEAD, backwards, joined_forward, calls("bfill", "backfill", "interpolate"), unknown_shift, ahead, of_period,
        calls("sliding_window_view", "as_strided", "unfold"),
    ),
    "L03": (
        calls("bfill", "backfill", "interpolate", "CubicSpline", "UnivariateSpline", "interp1d", "interp", "spline"),
        calls_with("fillna", "method", "bfill", "backfill"), joined_forward, whole, calls("fillna"), backwards,
    ),
    "L04": (
        calls("fit_transform", "fit_predict"), calls("qcut", "detrend", "fft", "rfft", "zscore", "svd", "eigh",
              "polyfit", "rankdata", "GroupNorm", "InstanceNorm1d", "group_norm", "instance_norm", "lstsq"),
        whole_rank,
        whole, _FITS, backwards, last_row, calls("transform", "groupby"), calls("LayerNorm", "layer_norm"),
    ),
    "L05": (calls("fit_transform"), _FITS, whole),
    "L06": (
        calls("BatchNorm1d", "BatchNorm2d", "batch_norm"), lambda n, k: called(n) in STATISTICS and (
            says(given(n, "dim"), 0) or bool(n.args and says(n.args[0], 0))),  # type: ignore[attr-defined]
        calls("train"), whole,
    ),
    "L07": (calls("dropout", "Dropout"), _RANDOM, calls("BatchNorm1d", "BatchNorm2d"), adds_in_place, sets_state),
    "L08": (padded, calls("pad"), calls("interpolate", "Upsample", "avg_pool1d", "max_pool1d"),
            calls("Conv1d", "Conv2d")),
    "L09": (bidirectional, backwards, calls("LSTM", "GRU", "RNN")),
    "L10": (_ATTENTION, calls("softmax"), calls("triu", "tril", "masked_fill")),
    "L11": (*_AHEAD, calls("sliding_window_view", "unfold"), ahead, whole),
    "L12": (joined_forward, dated_at_start, of_period, calls("transform", "merge", "merge_asof"), *_AHEAD),
    "L13": (calls_with("KFold", "shuffle", True), calls("train_test_split", "shuffle", "permutation", "choice"),
            _SPLITS),
    "L14": (_SPLITS, *_AHEAD, _FITS),
    "L15": (_SPLITS,),
    "L16": (calls("resample", "choice", "sample", "oversample", "repeat", "concat", "concatenate"), _SPLITS, _FITS),
    "L17": (calls("TargetEncoder"), calls("groupby"), _FITS),
    "L18": (calls("SelectKBest", "SelectFromModel", "RFE", "nlargest", "argsort", "corrwith"), _CHOOSES, whole),
    "L19": (_CHOOSES,),
    "L20": (lambda n, k: given(n, "eval_set") is not None, calls("early_stopping"), _CHOOSES),
    "L24": (last_row, calls("dropna", "isin", "unique"), whole),
    "L25": (about("member", "universe", "constituent"),),
    "L26": (calls("fillna", "nan_to_num", "reindex"), calls("rank", "argsort"), whole),
    "L27": (about("earning", "restated", "report", "fundamental"), calls("merge", "merge_asof", "join")),
    "L28": (
        lambda n, k: last_row(n, k) and any(about("factor", "adj")(m, k) for m in ast.walk(n)),
        backwards, about("adjusted", "adj_close"), about("factor"),
    ),
    "L30": (calls("tz_localize", "tz_convert", "normalize"), joined_forward, calls("merge_asof", "merge", "join"),
            *_AHEAD),
    "L31": (*_AHEAD, calls("bfill", "backfill", "cumcount"), backwards, calls("isna", "isnull", "notna"), of_period),
    "L32": (_OUTSIDE, _RANDOM, counts_rows, negative_shift, whole),
}  # fmt: skip
