"""A study file (TOML) becomes frozen, validated settings. An unknown key is an error that names the nearest one."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hitherto.errors import ConfigError

Positive = Annotated[int, Field(ge=1)]
Bps = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
Span = Positive | Annotated[str, Field(pattern=r"^\d+[ymwd]$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class MarketSettings(_Section):
    """Where the bars come from. ``bars``: a file, a folder or "sample:NAME"; ``columns``: {name in the file: ours}."""

    bars: str
    calendar: str = "from_data"
    zone: str | None = None
    close: str | None = None
    adjustment: Literal["auto", "raw", "factor", "restated_total_return"] = "auto"
    allow_restated: bool = False
    columns: dict[str, str] = Field(default_factory=dict)
    membership: str | None = None
    benchmark: str | None = None
    benchmark_symbol: str | None = None
    start: dt.date | None = None
    end: dt.date | None = None
    colours: Literal["western", "chinese"] = "western"


class FeatureSettings(_Section):
    """Inputs: a named set, expressions of your own, or both; then a normalisation.

    vwap: what stands for it in sets that need it: a field, amount / volume, or the typical price.
    span: window of rolling_zscore and half-life of ema_zscore, in bars. instance: standardise each window by itself.
    max_missing, fill, mask_channel: the NaN policy of windows.
    """

    set: str | None = None
    vwap: Literal["field", "amount", "typical"] | None = None
    expressions: dict[str, str] = Field(default_factory=dict)
    normalise: Literal[
        "robust_zscore", "zscore", "cs_rank", "cs_zscore", "cs_robust_zscore", "rolling_zscore", "ema_zscore", "none"
    ] = "robust_zscore"
    span: Positive = 250
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0
    instance: bool = False
    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.2
    fill: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    mask_channel: bool = False

    @model_validator(mode="after")
    def _some(self) -> FeatureSettings:
        if self.set is None and not self.expressions:
            raise ValueError("name a set (features.set) or give expressions (features.expressions)")
        return self


class LabelSettings(_Section):
    """What to forecast: simple returns over ``horizons`` bars, entered at the next open or close."""

    horizons: Annotated[list[Positive], Field(min_length=1, max_length=20)] = [1]
    entry: Literal["next_open", "next_close"] = "next_close"


class SplitSettings(_Section):
    """Walk-forward by lengths (bars, or "5y", "6m", "10w", "30d"), or one fold by dates [first, last]."""

    kind: Literal["walk_forward", "dates"] = "walk_forward"
    train: Span | list[dt.date] | None = None
    valid: Span | list[dt.date] = "1y"
    test: Span | list[dt.date] = "1y"
    folds: Positive | None = None
    gap: Annotated[int, Field(ge=0)] = 0
    mode: Literal["rolling", "expanding"] = "expanding"

    @model_validator(mode="after")
    def _shape(self) -> SplitSettings:
        for name in ("train", "valid", "test"):
            value = getattr(self, name)
            if self.kind == "dates":
                if not isinstance(value, list) or len(value) != 2 or value[0] > value[1]:
                    raise ValueError(f"split.{name} must be [first date, last date] when kind = 'dates'")
            elif isinstance(value, list):
                raise ValueError(f"split.{name} is a list of dates; say kind = 'dates', or give a length such as '2y'")
        if self.kind == "dates":
            t, v, s = self.train, self.valid, self.test
            if not (t[1] < v[0] and v[1] < s[0]):  # type: ignore[index, operator]
                raise ValueError("split: the train, valid and test dates must follow one another without overlap")
        return self


class OptimiseSettings(_Section):
    """Limits and aims of the convex optimiser (extra ``portfolio``); see ``portfolio.optimise``.

    ic: skill that turns scores into expected returns. relative: measure risk against equal weight of the universe.
    """

    risk_aversion: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    ic: Annotated[float, Field(gt=0, le=1)] = 0.03
    relative: bool = False
    model: Literal["factor", "shrinkage"] = "factor"
    window: Positive = 250
    factors: Positive = 10
    cap: Annotated[float, Field(gt=0, le=1)] | None = 0.05
    turnover: Annotated[float, Field(gt=0)] | None = None
    band: Annotated[float, Field(gt=0, le=1)] | None = None
    active_risk: Annotated[float, Field(gt=0)] | None = None


class PortfolioSettings(_Section):
    """One book. k: names held (a side), or of "quantile" the number of quantiles, of which the best is held.

    long_only: of "score_weighted" the names above the mean alone. optimise: settings of rule "optimise".
    """

    name: str | None = None
    rule: Literal["topk_dropout", "topk", "quantile", "long_short", "score_weighted", "optimise"] = "topk_dropout"
    k: Positive = 5
    drop: Annotated[int, Field(ge=1)] | None = None
    every: Positive = 1
    output: Annotated[int, Field(ge=0)] = 0
    long_only: bool = False
    optimise: OptimiseSettings = OptimiseSettings()

    @property
    def title(self) -> str:
        """The name of the book."""
        own = {
            "topk_dropout": f"top {self.k}", "topk": f"top {self.k}, all replaced",
            "quantile": f"best quantile of {self.k}", "score_weighted": "score weighted", "optimise": "optimised",
        }  # fmt: skip
        return self.name or own.get(self.rule, f"long-short {self.k}")

    @model_validator(mode="after")
    def _lawful(self) -> PortfolioSettings:
        if self.rule == "topk_dropout" and (self.drop or 1) > self.k:
            raise ValueError(f"portfolio.drop {self.drop} is above portfolio.k {self.k}; drop at most all names held")
        if self.rule == "quantile" and self.k < 2:
            raise ValueError("portfolio.k of rule 'quantile' is the number of quantiles; it must be at least 2")
        if self.rule == "optimise" and self.optimise.window < 60:
            raise ValueError("portfolio.optimise.window must be at least 60 bars; no risk is known from fewer")
        if self.rule == "optimise" and self.optimise.band is not None and not self.optimise.relative:
            raise ValueError("portfolio.optimise.band is a distance from a benchmark; say relative = true")
        return self


class AssumeSettings(_Section):
    """What the exchange takes for granted where no status table says it."""

    st: Literal["never"] | None = None


class ExchangeSettings(_Section):
    """How orders meet the market. Costs in basis points per side.

    rules: "cn" or "us" are dated rules (limits, T+1, lots, duties; whole shares, money to the fen), "none" trades
    fractions without rules. status: table of ST and delisting spans; without one say ``assume.st``. handling: whether
    the exchange's handling fee and levy are inside the commission. volume_cap: largest share of a bar's volume that an
    order may take. impact: Y of the square-root law. same_bar: the classic fault, to show what it is worth. actions: a
    table of corporate actions (symbol, ex_date, dividend, split), which win over the factor on their day.
    """

    fill: Literal["next_open", "next_close", "same_close"] = "next_close"
    same_bar: bool = False
    rules: Literal["none", "cn", "us"] = "none"
    status: str | None = None
    actions: str | None = None
    assume: AssumeSettings = AssumeSettings()
    handling: Literal["inside", "beside"] = "inside"
    fee_bps: Bps = 5.0
    slippage_bps: Bps = 0.0
    sell_tax_bps: Bps = 0.0
    min_fee: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    lot: Annotated[int, Field(ge=0)] = 0
    volume_cap: Annotated[float, Field(ge=0, le=1)] = 0.0
    impact: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    capital: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1_000_000.0

    @model_validator(mode="after")
    def _one_source(self) -> ExchangeSettings:
        if self.rules != "none" and (self.lot or self.sell_tax_bps):
            raise ValueError(
                f"exchange.rules '{self.rules}' knows lots and taxes by date; leave exchange.lot and "
                "exchange.sell_tax_bps out"
            )
        if self.rules == "none" and (self.status or self.assume.st):
            raise ValueError(
                "exchange.status and exchange.assume belong to exchange.rules; name the rules, or drop them"
            )
        if self.same_bar and self.fill == "same_close":
            raise ValueError("exchange.same_bar goes with fill 'next_open' or 'next_close'")
        return self


class ComputeSettings(_Section):
    """Where nets are trained. device: "cpu", "cuda", "cuda:1", "mps", or "auto" (the first of cuda, mps, cpu present).

    threads: "auto" or a number; they change no bit. precision: "tf32" and "bf16" are refused unless a probe passes.
    """

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "cpu"
    threads: Positive | Literal["auto"] = "auto"
    precision: Literal["float32", "tf32", "bf16"] = "float32"


class AuditSettings(_Section):
    """How hard to look for leaks: "quick" refits a reduced study, "full" the whole one, "off" says so in the report."""

    level: Literal["off", "quick", "full"] = "quick"


class ReportSettings(_Section):
    """The page. null_books: books of permuted scores behind the equity curve; 0 draws none."""

    null_books: Annotated[int, Field(ge=0, le=10_000)] = 500
    language: Literal["en", "zh"] = "en"
    title: str | None = None


class StudySettings(_Section):
    """A whole study. ``models``: settings tables with a ``kind``; the first is the one the verdict speaks of."""

    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")] = "study"
    seed: Annotated[int, Field(ge=0)] = 7
    seeds: Annotated[int, Field(ge=1, le=50)] = 1
    periods_per_year: Positive = 252
    market: MarketSettings
    features: FeatureSettings
    label: LabelSettings = LabelSettings()
    split: SplitSettings = SplitSettings()
    models: Annotated[list[dict[str, Any]], Field(min_length=1)]
    portfolio: Annotated[list[PortfolioSettings], Field(min_length=1)] = [PortfolioSettings()]
    exchange: ExchangeSettings = ExchangeSettings()
    compute: ComputeSettings = ComputeSettings()
    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _outputs(self) -> StudySettings:
        for p in self.portfolio:
            if p.output >= len(self.label.horizons):
                raise ValueError(f"portfolio.output {p.output} asks for a horizon that label.horizons does not hold")
        titles = [p.title for p in self.portfolio]
        twice = next((t for i, t in enumerate(titles) if t in titles[:i]), None)
        if twice is not None:
            raise ValueError(f"two portfolios are called '{twice}'; give each a portfolio.name of its own")
        return self


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the tables of a TOML file; ConfigError with file and line otherwise."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: no such study file; give the path of a .toml file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path.name}: is a folder; give the path of a .toml file") from None
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path.name}: not UTF-8 at byte {e.start}; save the study file as UTF-8") from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path.name}: not valid TOML: {_one_line(str(e))}") from None
    except OSError as e:
        raise ConfigError(f"{path.name}: cannot be read: {e.strerror}") from None


def override(tables: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Return ``tables`` with "a.b=c" assignments applied; c is read as a TOML value, else as a string."""
    out = _copy(tables)
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", key.strip()):
            raise ConfigError(f"--set {text!r}: write it as name.of.setting=value")
        try:
            parsed = tomllib.loads(f"x = {value.strip()}")["x"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        here: Any = out
        *path, last = key.strip().split(".")
        for part in path:
            here = _step(here, part, text)
        if isinstance(here, list):
            here[_position(here, last, text)] = parsed
        elif isinstance(here, dict):
            here[last] = parsed
        else:
            raise ConfigError(f"--set {text!r}: '{path[-1]}' is not a table")
    return out


def _step(here: Any, part: str, text: str) -> Any:
    if isinstance(here, list):
        return here[_position(here, part, text)]
    if not isinstance(here, dict):
        raise ConfigError(f"--set {text!r}: '{part}' is not a table")
    return here.setdefault(part, {})


def _position(items: list[Any], part: str, text: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"--set {text!r}: '{part}' must be a position 0..{len(items) - 1} of the list")
    return int(part)


def _copy(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _copy(v) for k, v in x.items()}
    return [_copy(v) for v in x] if isinstance(x, list) else x


def validate(tables: dict[str, Any], where: str = "study") -> StudySettings:
    """Return validated settings; ConfigError with one line that names the setting, its value and the nearest name."""
    try:
        return StudySettings.model_validate(tables)
    except ValidationError as e:
        raise ConfigError(f"{where}: {_explain(e)}") from None


def _explain(e: ValidationError) -> str:
    # Unions report one error per member; the deepest unknown key or the first error says most.
    errors = sorted(e.errors(), key=lambda x: x["type"] != "extra_forbidden")
    first = errors[0]
    loc = [p for p in first["loc"] if not (isinstance(p, str) and re.search(r"[\[(]|^int$|^str$", p))]
    name = ".".join(str(p) for p in loc) or "study"
    if first["type"] == "extra_forbidden":
        near = nearest(str(loc[-1]), _names_at(loc[:-1]))
        return f"unknown setting '{name}'{near}"
    if first["type"] == "missing":
        return f"setting '{name}' is missing"
    text = _one_line(first["msg"]).removeprefix("Value error, ")
    value = first.get("input")
    shown = f", got {_one_line(repr(value))[:60]}" if not isinstance(value, dict | BaseModel) else ""
    return f"setting '{name}': {text}{shown}"


def _names_at(path: list[Any]) -> list[str]:
    model: Any = StudySettings
    for part in path:
        if isinstance(part, int):
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return []
        kind = model.model_fields[part].annotation
        inner = [a for a in getattr(kind, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)]
        model = inner[0] if inner else kind
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def nearest(name: str, known: list[str]) -> str:
    """Return "; did you mean 'x'?" or the list of known names."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(known)}" if known else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def build_settings(cls: type, table: dict[str, Any], where: str) -> Any:
    """Return the frozen dataclass ``cls`` made from a table; ConfigError for an unknown key or type."""
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    values = {}
    for key, value in table.items():
        if key not in fields:
            raise ConfigError(f"unknown setting '{where}.{key}'{nearest(key, list(fields))}")
        default = fields[key].default
        values[key] = _like(default, value, f"{where}.{key}")
    try:
        return cls(**values)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"{where}: {_one_line(str(e))}") from None


def _like(default: Any, value: Any, name: str) -> Any:
    if default is None or default is dataclasses.MISSING:
        return tuple(value) if isinstance(value, list) else value
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is tuple and isinstance(value, list):
        return tuple(value)
    if type(value) is not wanted:
        raise ConfigError(f"setting '{name}' must be {wanted.__name__}, got {value!r} ({type(value).__name__})")
    return value


def dump_toml(tables: dict[str, Any]) -> str:
    """Return TOML text of nested settings (None is left out): what a run folder keeps to repeat itself."""
    lines: list[str] = []
    _dump(tables, (), lines)
    return "\n".join(lines).strip() + "\n"


def _dump(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    tables = {k: v for k, v in table.items() if isinstance(v, dict) or _is_tables(v)}
    for key, value in table.items():
        if key not in tables and value is not None:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in tables.items():
        for item in [value] if isinstance(value, dict) else value:
            full = ".".join(_key(p) for p in (*path, key))
            lines += ["", f"[{full}]" if isinstance(value, dict) else f"[[{full}]]"]
            _dump(item, (*path, key), lines)


def _is_tables(v: Any) -> bool:
    return isinstance(v, list) and bool(v) and all(isinstance(i, dict) for i in v)


def _key(k: str) -> str:
    return k if re.fullmatch(r"[A-Za-z0-9_-]+", k) else _value(k)


def _value(v: Any) -> str:
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, int | float):
        return repr(v)
    if isinstance(v, dt.date):
        return v.isoformat()
    if isinstance(v, list | tuple):
        return "[" + ", ".join(_value(i) for i in v) + "]"
    text = str(v).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04X}", text) + '"'
