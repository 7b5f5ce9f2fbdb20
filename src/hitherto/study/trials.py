"""What a study writes into the trial ledger, what it reads from it, and ``hitherto trials``."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import hitherto
from hitherto.config import PortfolioSettings
from hitherto.errors import ConfigError, DataError
from hitherto.evaluate.rules import BY_KEY, MIN_BARS, confidence
from hitherto.evaluate.trials import NAME, Account, Outcome, Searched, Trial, TrialLedger, bars_a_year
from hitherto.files import read_json
from hitherto.models import naive
from hitherto.models.base import Forecaster
from hitherto.panel import Panel
from hitherto.run import plain
from hitherto.sharpe import deflated_sharpe, probabilistic_sharpe
from hitherto.study.core import IN_MEMORY, Prepared, Study, table_of
from hitherto.study.evaluate import Evaluation

# What does not make a study another one. The market is told by the digest of its data, files by what is in them.
LEFT_OUT = ("name", "seed", "seeds", "market", "models", "portfolio", "compute", "audit", "report")
FIXED = (naive.Zero, naive.Persistence, naive.Momentum)  # nothing is fitted: references, unless put forward
ENOUGH = BY_KEY["deflated"].threshold  # from here on the luck of the search is no explanation
PACKAGE = Path(hitherto.__file__).resolve().parent


@dataclass(frozen=True)
class Deflation:
    """What the strategy's Sharpe ratio is worth after the search: what was counted, and the two ratios in [0, 1].

    None where its returns are constant, or their moments leave no variance. ledger, records, head: the ledger as it
    stood when the count was taken, its path seen from the run folder.
    """

    searched: Searched
    probabilistic: float | None
    deflated: float | None
    ledger: str
    records: int
    head: str

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for metrics.json: equal for a repeat, wherever its ledger lies."""
        return {
            "searched": asdict(self.searched), "probabilistic_sharpe": self.probabilistic,
            "deflated_sharpe": self.deflated,
        }  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Return what run.json keeps of the count, so that a repeat uses the same one."""
        return {**asdict(self.searched), "ledger": self.ledger, "records": self.records, "head": self.head}

    def __str__(self) -> str:
        return self.words("en")

    def words(self, language: str) -> str:
        """Return the count and what is left, in one line of English ("en") or Chinese ("zh")."""
        n, zh = self.searched.trials, language == "zh"
        if zh:
            head = f"此数据上 {n} 次试验中的 1 次" if n > 1 else "迄今此数据上唯一的一次试验"
        else:
            head = f"1 of {n} trials on this data" if n > 1 else "the only trial on this data so far"
        if self.deflated is None:
            none = (
                "；没有折减夏普比率：组合的收益太少或恒定"
                if zh
                else "; no deflated Sharpe ratio: the returns of the book are too few or constant"
            )
            return head + none
        beyond = self.deflated >= ENOUGH
        if zh:
            says = "超出搜索的运气" if beyond else "与搜索的运气无法区分"
            return f"{head}；折减夏普比率 {confidence(self.deflated)}：{says}"
        says = "above" if beyond else "not distinguishable from"
        return f"{head}; deflated Sharpe ratio {confidence(self.deflated)}: {says} the luck of the search"


def ledger_of(study: Study, folder: Path) -> TrialLedger:
    """Return the ledger of a study: beside its file, for one in this package (the demo) in the run folder.

    A study file that is a run folder's copy goes on with the ledger of that run, if it is still there.
    """
    kept = _kept(study.base)
    if kept is not None and (study.base / kept["ledger"]).is_file():
        return TrialLedger((study.base / kept["ledger"]).resolve())
    inside = study.base.resolve().is_relative_to(PACKAGE)
    return TrialLedger((folder if inside else study.base).resolve() / NAME)


def pairs_of(study: Study) -> list[tuple[Forecaster, PortfolioSettings]]:
    """Return what a study tries: the first model under every portfolio rule, the others under the first rule.

    References that fit nothing are no trials, unless one is what the study puts forward.
    """
    first, rules = study.models[0], study.settings.portfolio
    pairs = [(m, r) for m in study.models for r in (rules if m is first else rules[:1])]
    return [(m, r) for m, r in pairs if m is first or not isinstance(m, FIXED)]


def trials_of(study: Study, p: Prepared, ledger: TrialLedger) -> list[Trial]:
    """Return the trials of a study, see ``pairs_of``."""
    first, pairs = study.models[0], pairs_of(study)
    marks = [_digest(study, m, r) for m, r in pairs]
    version = hashlib.sha256("".join([*marks, str(study.settings.seed)]).encode()).hexdigest()
    sessions = p.panel.sessions[np.logical_or.reduce([f.test.any(axis=1) for f in p.folds])]
    data, symbols = p.panel.digest(), hashlib.sha256("\0".join(sorted(p.panel.symbols)).encode()).hexdigest()
    market = {
        "bars": _bars(study, ledger), "symbols": symbols, "length": len(p.panel.times),
        "first": str(sessions.min()), "last": str(sessions.max()), "per_year": study.settings.periods_per_year,
    }  # fmt: skip
    counted = _counter(p.panel, data, symbols, ledger.trials())
    return [
        Trial(
            mark, data, counted(mark), study.settings.seed if _draws(m) else None,
            len(study.seeds_of(m)), study.settings.name, version, m.name, r.title, "main" if m is first else "rival",
            **market,
        )
        for mark, (m, r) in zip(marks, pairs, strict=True)
    ]  # fmt: skip


def settle(
    study: Study, folder: Path, ledger: TrialLedger, opened: list[Trial], e: Evaluation
) -> Deflation:  # fmt: skip
    """Write what the opened trials earned, count, and return what is left of the strategy's Sharpe ratio.

    A repeat of a run (into its folder, or from its study file) uses the count that the run kept.
    """
    # A forecast of nothing but zeros is not traded: opened, it counts, and has no result.
    ledger.result([(t, Outcome.of(e.books[t.title].returns)) for t in opened if t.title in e.books])
    data = opened[0].data
    mine = _same(folder, study, data)
    kept = mine or _same(study.base, study, data)
    searched = ledger.count(data) if kept is None else Searched(**{f.name: kept[f.name] for f in fields(Searched)})
    if mine is None:
        now = ledger.verify()
        chain = (_seen(ledger.path, folder), now.records, now.head)
    else:  # the head that the run knew stays: a ledger that was lost since then shows
        chain = (str(mine["ledger"]), int(mine["records"]), str(mine["head"]))
    return Deflation(searched, *_ratios(Outcome.of(e.books[e.main].returns), searched), *chain)


def _ratios(o: Outcome, s: Searched) -> tuple[float | None, float | None]:
    if o.bars < MIN_BARS or o.sharpe is None or o.skew is None or o.kurtosis is None or s.variance is None:
        return None, None
    psr = probabilistic_sharpe(o.sharpe, o.bars, 0.0, o.skew, o.kurtosis)
    dsr = deflated_sharpe(o.sharpe, o.bars, s.trials, s.variance, o.skew, o.kurtosis)
    return (None if math.isnan(psr) else psr), (None if math.isnan(dsr) else dsr)


def _digest(study: Study, model: Forecaster, rule: PortfolioSettings) -> str:
    """Return the SHA-256 of all settings that this model under this rule follows."""
    tables = study.settings.model_dump(mode="json", exclude=set(LEFT_OUT))
    for key in ("status", "actions"):
        name = tables["exchange"][key]
        tables["exchange"][key] = name and hashlib.sha256(Path(study.path(name)).read_bytes()).hexdigest()
    tables["model"] = _bare(table_of(model))
    if tables["model"]["kind"] == "custom":
        cls = type(model)
        tables["model"]["class"] = f"{cls.__module__}.{cls.__qualname__}"
        held = sorted((k, repr(v)) for k, v in vars(model).items()) if hasattr(model, "__dict__") else repr(model)
        tables["model"]["settings"] = re.sub(r" at 0x[0-9a-f]+", "", repr(held))  # an address is no setting
    tables["rule"] = rule.model_dump(mode="json", exclude={"name"})
    return hashlib.sha256(json.dumps(plain(tables), sort_keys=True).encode()).hexdigest()


def _bare(table: dict[str, Any]) -> dict[str, Any]:
    """Return a model's table without names."""
    return {k: _bare(v) if isinstance(v, dict) else v for k, v in table.items() if k != "name"}


def _draws(model: Forecaster) -> bool:
    return bool(getattr(model, "stochastic", True))


def _bars(study: Study, ledger: TrialLedger) -> str:
    """Return the name of the bars as seen from the ledger; "" for a panel in memory."""
    name = study.settings.market.bars
    if name == IN_MEMORY or name.startswith("sample:"):
        return "" if name == IN_MEMORY else name
    return _seen(study.base / name, ledger.path.parent)


def _seen(path: Path, folder: Path) -> str:
    """Return ``path`` relative to ``folder``, so that both may move together; as it is on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()


def _counter(panel: Panel, data: str, symbols: str, past: tuple[Trial, ...]) -> Callable[[str], str]:
    """Return trial digest -> the data under which it counts.

    The same settings on the same bars with more at the end are a repeat, not a choice: they count with the shorter
    ones. All earlier bars must be equal to the last bit.
    """
    cut: dict[int, str] = {}

    def counted(trial: str) -> str:
        mine = [t for t in past if t.trial == trial]
        for t in mine:
            if t.data == data:
                return t.counted
        shorter = [t for t in mine if t.length < len(panel.times) and t.symbols == symbols]
        if not shorter:
            return data
        last = max(shorter, key=lambda t: t.length)
        if last.length not in cut:
            cut[last.length] = panel.rows(last.length).digest()
        return last.counted if cut[last.length] == last.data else data

    return counted


def _kept(folder: Path) -> dict[str, Any] | None:
    """Return the count that a finished run keeps in its run.json; None for another folder."""
    facts = _facts(folder)
    kept = facts.get("searched")
    types = {"trials": int, "with_result": int, "variance": float | None, "first": str, "last": str,
             "ledger": str, "records": int, "head": str}  # fmt: skip
    whole = isinstance(kept, dict) and all(k in kept and isinstance(kept[k], t) for k, t in types.items())
    return kept if whole else None


def _facts(folder: Path) -> dict[str, Any]:
    try:
        facts = read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    except DataError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _same(folder: Path, study: Study, data: str) -> dict[str, Any] | None:
    """Return what ``_kept`` does where the run was of this study on this data."""
    facts = _facts(folder)
    same = facts.get("study_digest") == study.digest() and facts.get("data_digest") == data
    return _kept(folder) if same else None


def find(target: Path | None) -> tuple[TrialLedger, tuple[int, str] | None]:
    """Return the ledger of a study file, a run folder, a folder or a ledger file, and the head that a run knew.

    None: that of the working folder. ConfigError where there is none.
    """
    target = Path() if target is None else target
    folder = target if target.is_dir() else target.parent
    kept = _kept(folder) if target.is_dir() or target.suffix == ".toml" else None
    if kept is not None:
        ledger, head = TrialLedger((folder / kept["ledger"]).resolve()), (int(kept["records"]), str(kept["head"]))
    else:
        file = folder / NAME if target.is_dir() or target.suffix == ".toml" else target
        ledger, head = TrialLedger(file.resolve()), None
    if not ledger.path.is_file():
        raise ConfigError(
            f"trials: there is no ledger at {ledger.path}; give a study file that was run, its run folder, or a ledger"
        )
    return ledger, head


def command(target: Path | None, *, as_json: bool) -> tuple[str, int]:
    """List the trials of a ledger, check its chain, and say what so much searching shows on noise.

    Returns the text and the exit code: 0, or 1 when the chain is broken (nothing is counted then).
    """
    ledger, head = find(target)
    chain = ledger.verify(head)
    if chain.broken is not None:
        body = {"ledger": str(ledger.path), "chain": chain._asdict()}
        return (json.dumps(plain(body)) if as_json else f"{ledger.path}\n{chain}"), 1
    account = ledger.read()
    rows = _rows(ledger, account.outcomes)
    groups = _groups(account)
    if as_json:
        body = {"ledger": str(ledger.path), "chain": chain._asdict(), "trials": rows, "searched": groups}
        return json.dumps(plain(body), ensure_ascii=False), 0
    table = _table(rows) if rows else ["no trial yet"]
    return "\n".join([str(ledger.path), "", *table, "", str(chain), *(_luck(g) for g in groups)]), 0


def _rows(ledger: TrialLedger, outcomes: dict[Any, Outcome]) -> list[dict[str, Any]]:
    out = []
    seen = set()
    for r in ledger.records():
        if r.kind != "opened":
            continue
        t = Trial(**r.body)
        o = outcomes.get(t.key)
        yearly = None if o is None or o.sharpe is None else o.sharpe * math.sqrt(t.per_year)
        out.append({"opened": r.at, **asdict(t), "repeat": t.key in seen, "sharpe": yearly,
                    "tested_bars": None if o is None else o.bars})  # fmt: skip
        seen.add(t.key)
    return out


def _groups(account: Account) -> list[dict[str, Any]]:
    """Return one count per set of trials that count together, in the order of their first reading."""
    out: list[dict[str, Any]] = []
    told: list[set[Any]] = []
    for data in dict.fromkeys(t.data for t in reversed(account.trials)):
        near = account.near(data)
        clock = {t.key: t.per_year for t in near}
        if any(clock.keys() <= s for s in told):
            continue
        told.append(set(clock))
        s, per = account.count(data), bars_a_year(near, data)
        seen = [(account.outcomes[k], y) for k, y in clock.items() if k in account.outcomes]
        best = max((((o.sharpe or 0.0) * math.sqrt(y), o.bars / y) for o, y in seen), default=None)
        out.append({
            "data": data, **asdict(s), "years": None if best is None else best[1], "periods_per_year": per,
            "luck": None if s.luck is None else s.luck * math.sqrt(per), "best": None if best is None else best[0],
        })  # fmt: skip
    return out[::-1]


def _luck(g: dict[str, Any]) -> str:
    n = g["trials"]
    what = f"{n} {'trial' if n == 1 else 'trials'} on data {g['data'][:8]}, tested {g['first']} .. {g['last']}"
    if g["luck"] is None:
        return f"{what}: none has a result yet"
    return (
        f"{what}: over {g['years']:.1f} years luck alone shows a Sharpe ratio of {g['luck']:.2f} a year as the best of "
        f"{n}; the best here is {g['best']:.2f} (simple net returns, risk-free rate 0, {g['periods_per_year']} periods "
        "a year)"
    )


HEAD: tuple[str, ...] = ("opened (UTC)", "study", "model, rule", "role", "seed", "data", "tested", "Sharpe a year", "")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [HEAD]
    for r in rows:
        ratio = "no result" if r["sharpe"] is None else f"{r['sharpe']:.2f}"
        lines.append((
            r["opened"][:16].replace("T", " "), r["study"], f"{r['model']}, {r['rule']}", r["role"],
            "" if r["seed"] is None else str(r["seed"]) + (f" x{r['seeds']}" if r["seeds"] > 1 else ""),
            r["data"][:8], f"{r['first']} .. {r['last']}", ratio, "longer bars" if r["repeat"] else "",
        ))  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
