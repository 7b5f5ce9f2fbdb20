"""A static reader that points at the lines which most likely carry a leak that an experiment has shown.

It reads with ``ast`` and never runs what it reads; it only adds a place to a finding. What it finds acquits nobody, and
what it does not find neither. The signs that it looks for, class by class, are in ``audit.signs``.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import linecache
import re
import sysconfig
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hitherto.audit.contained import FileTarget
from hitherto.audit.signs import SIGNS, constants
from hitherto.panel import Panel

if TYPE_CHECKING:
    from hitherto.audit.target import AuditPlan
    from hitherto.audit.verdict import Finding

MOST = 3  # lines named for one finding
LONGEST = 2_000_000  # characters of a file that is read
THINGS = 400  # objects looked at behind one target
OURS = str(Path(__file__).resolve().parents[1])
STDLIB = tuple(filter(None, (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))))


class Code(NamedTuple):
    """Somebody's function or class: its file, its name, and the line it begins at (0: the file's own ``name``)."""

    path: str
    name: str
    line: int = 0


def lines(source: str, leak: str, *, name: str = "", line: int = 0, column: str = "") -> list[tuple[int, str]]:
    """Return at most 3 (line number, its text) of ``source`` that most likely carry a leak of this class.

    name, line: the function or class to read, and what it uses of the same file; neither: all of it. column: where
    parts of it are assigned to this column, these come first. Empty when nothing fits or the text is no Python.
    """
    try:
        nodes, known = _read(source, name, line)
        own = [n for root in _given_to(column, nodes) for n in ast.walk(root)] if column else []
        for some in filter(None, (own, nodes)):
            for sign in SIGNS.get(leak, ()):
                found = sorted({_line(n) for n in some if sign(n, known)})
                if found:
                    text = source.splitlines()
                    return [(k, text[k - 1].strip()) for k in found[:MOST]]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass  # no Python, or too deep to be read: the finding stands without a line
    return []


@functools.lru_cache(maxsize=16)
def _read(source: str, name: str, line: int) -> tuple[list[ast.AST], dict[str, float]]:
    """The nodes of what is to be read, and the numbers that names hold."""
    tree = ast.parse(source)
    return [n for root in _reachable(tree, name, line) for n in ast.walk(root)], constants(tree)


def _line(node: ast.AST) -> int:
    """The line of the attribute that is called: chains go over several lines."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.end_lineno or node.func.lineno
    return int(getattr(node, "lineno", 1))


def _reachable(tree: ast.Module, name: str, line: int) -> list[ast.AST]:
    """The definition asked for and, step by step, the definitions of the module that it uses."""
    top = {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    first = _definition(tree, name, line)
    if first is None:
        return [] if name or line else [tree]
    out: list[ast.AST] = [first]
    for root in out:  # grows while it is read
        used = {n.id for n in ast.walk(root) if isinstance(n, ast.Name)}
        inside = {id(n) for one in out for n in ast.walk(one)}
        out += [node for key, node in top.items() if key in used and id(node) not in inside]
    return out


def _definition(tree: ast.Module, name: str, line: int) -> ast.AST | None:
    """The function, class or lambda of this name (lambdas have none) that begins at, or holds, this line."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, kinds) and node.name == name:
            begin = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if not line or begin <= line <= (node.end_lineno or begin):
                found.append(node)
        elif isinstance(node, ast.Lambda) and name == "<lambda>" and node.lineno == line:
            found.append(node)
    return found[-1] if found else None


def _given_to(column: str, nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """What is assigned to a column: ``out["z"] = ...``, ``assign(z=...)``, ``{"z": ...}``."""
    for n in nodes:
        if isinstance(n, ast.Assign) and any(_is(column, getattr(t, "slice", None)) for t in n.targets):
            yield n
        elif isinstance(n, ast.keyword) and n.arg == column:
            yield n.value
        elif isinstance(n, ast.Dict):
            yield from (v for k, v in zip(n.keys, n.values, strict=True) if _is(column, k))


def _is(text: str, node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


# ---- from a target to somebody's source ----
def behind(thing: Any) -> list[Code]:
    """Return the foreign functions and classes that a target holds, nearest first; nothing of it is called.

    Followed: closures, partials, bound methods and the attributes of our own objects. What lies in the standard
    library, in site-packages or in this package is not somebody's code.
    """
    out: dict[Code, None] = {}
    todo, seen = [thing], set()
    while todo and len(seen) < THINGS:
        one = todo.pop(0)
        if id(one) in seen or isinstance(one, (Panel, str, bytes, int, float)):
            continue
        seen.add(id(one))
        code = _foreign(one)
        if code is not None:
            out[code] = None
        else:
            todo += _inside(one)
    return list(out)


def _inside(one: Any) -> list[Any]:
    if isinstance(one, types.FunctionType):
        cells = [c.cell_contents for c in one.__closure__ or () if _filled(c)]
        return [getattr(one, "__wrapped__", None), *cells]
    if isinstance(one, types.MethodType):
        return [one.__func__, one.__self__]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    if isinstance(one, dict):
        return list(one.values())[:50]
    if isinstance(one, (list, tuple)):
        return list(one[:50])
    module = type(one).__module__ or ""
    if module.startswith("hitherto") and hasattr(one, "__dict__"):
        return list(vars(one).values())
    if module.startswith("torch.nn"):
        return list(vars(one).get("_modules", {}).values())
    return []


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _foreign(one: Any) -> Code | None:
    """Where a function, or the class of an object, is written, if that is somebody's own file."""
    if isinstance(one, FileTarget):
        return Code(str(one.path), one.entry)
    if isinstance(one, types.FunctionType):
        return _checked(one.__code__, one.__code__.co_name)
    kind = one if isinstance(one, type) else type(one)
    if kind.__module__ in ("builtins", "functools", "types"):
        return None
    code = next((v.__code__ for v in vars(kind).values() if isinstance(v, types.FunctionType)), None)
    return None if code is None else _checked(code, kind.__name__)


def _checked(code: types.CodeType, name: str) -> Code | None:
    path = code.co_filename
    library = path.startswith((OURS, *STDLIB)) or "site-packages" in path or "dist-packages" in path
    return None if library or path.startswith("<") else Code(path, name, code.co_firstlineno)


def mark(findings: Iterable[Finding], plan: AuditPlan, given: Any = None) -> tuple[Finding, ...]:
    """Return the findings with ``source`` where a line can be named; nothing else of them changes.

    given: what was handed to the audit; for a study that was read from a file the feature's line there is named.
    """
    things = [*plan.targets, *plan.predictors, *plan.modules, *([plan.refit] if plan.refit is not None else [])]
    by_name = {one.name: one for one in reversed(things)}
    study = study_file(given)
    return tuple(_marked(f, by_name, study) for f in findings)


def _marked(f: Finding, by_name: dict[str, Any], study: Path | None) -> Finding:
    names = [n for n in by_name if f.where == n or f.where.startswith(f"{n}.")]
    if f.source or not names or re.search(r"\.py:\d", f.where):
        return f
    name = max(names, key=len)
    column = f.where[len(name) + 1 :]
    if study is not None and name == "features":  # expressions in a file: no Python of anybody's behind them
        at = setting_line(study.read_text(encoding="utf-8"), column)
        return dataclasses.replace(f, source=f"{study.name}:{at}") if at else f
    for code in behind(by_name[name]):
        found = lines(_text(code.path), f.leak, name=code.name, line=code.line, column=column)
        if found:
            file = "".join(c if c.isprintable() else "?" for c in Path(code.path).name)
            return dataclasses.replace(f, source=f"{file}:{','.join(str(k) for k, _ in found)}")
    return f


def _text(path: str) -> str:
    """A source's text, also of a notebook's cell; nothing where it is too long to be somebody's code."""
    text = "".join(linecache.getlines(path))
    return text if len(text) < LONGEST else ""


def study_file(given: Any) -> Path | None:
    """Return the .toml file that a study was read from, None for anything else."""
    ours = (type(given).__module__ or "").startswith("hitherto")  # nobody else's attributes are read: they may compute
    base, where = (
        (vars(given).get(k) for k in ("base", "where")) if ours and hasattr(given, "__dict__") else (None, None)
    )
    if not isinstance(base, Path) or not isinstance(where, str) or not where.endswith(".toml"):
        return None
    return base / where if (base / where).is_file() else None


def setting_line(text: str, key: str) -> int:
    """Return the line of a TOML text that sets ``key`` (a feature's name), 0 when none does."""
    pattern = re.compile(rf"""(?:^|[.{{,])\s*(["']?){re.escape(key)}\1\s*=(?!=)""")
    return next((i for i, row in enumerate(text.splitlines(), 1) if key and pattern.search(row)), 0)
