"""What audited code does besides computing, seen from its process: files, network, processes, clock, environment.

An audit hook sees what goes through Python; some readers that open files in C are wrapped by name. C extensions,
handles opened before, and whatever a started program does are not seen: docs/audit_containment.md says so.
"""

from __future__ import annotations

import builtins
import datetime as real_datetime
import os
import site
import sys
import sysconfig
import time as real_time
import types
from collections.abc import Callable
from typing import Any

Tell = Callable[[dict[str, Any]], None]
MOST = 500  # things told per process
SOURCES = (".py", ".pyc", ".pyi", ".so", ".pth", ".pyd", ".dll", ".egg-info", ".nbi", ".nbc")
SYSTEM = ("/proc", "/sys", "/etc", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt/nvidia", "/dev/nvidia")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/stdin",
           "/dev/stdout", "/dev/stderr", "/dev/fd")  # fmt: skip
CHANGES = {"os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "os.chmod": 0, "os.chown": 0, "os.utime": 0,
           "os.symlink": 1, "os.setxattr": 0, "os.removexattr": 0}  # fmt: skip
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")
ENVIRON_FILES = ("<frozen os>", "os.py", "<frozen _collections_abc>", "_collections_abc.py")
READERS = {  # opened in C, without an audit event
    "pandas": ("read_parquet", "read_orc", "read_hdf"),
    "polars": ("read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson", "scan_csv", "scan_parquet",
               "scan_ipc", "scan_ndjson", "read_avro"),
    "pyarrow.parquet": ("read_table", "ParquetFile", "ParquetDataset"),
    "pyarrow.csv": ("read_csv", "open_csv"), "pyarrow.feather": ("read_table", "read_feather"),
    "pyarrow.dataset": ("dataset",), "pyarrow": ("memory_map", "OSFile"), "h5py": ("File",),
}  # fmt: skip


class Watch:
    """Tells what code in ``own`` (the folder of the audited file) does, and refuses the network and outside writes.

    tell: gets {"kind", "what", "at"}; kind in read, missing, write, network, bind, process, library, clock,
    environment; at: file:line of the audited code that caused it, "" when none is on the stack. shift: seconds that
    are added to the wall clock as the audited code reads it.
    """

    def __init__(self, tell: Tell, own: str, scratch: str, shift: float = 0.0) -> None:
        self.tell, self.own, self.shift = tell, os.path.realpath(own).rstrip(os.sep), shift
        self.scratch = os.path.realpath(scratch)
        self.code = _code_folders()
        self.installed = _inside(self.own, self.code)  # an installed package is audited itself
        self.told: set[tuple[str, str, str]] = set()
        self.busy = False
        self.wrapped: set[str] = set()
        self.import_ = builtins.__import__
        self.clocks = {"time": self._time(), "datetime": self._datetime()}

    def install(self) -> None:
        """Watch from now on; there is no way back in this process."""
        handlers = {"open": self._open, "socket.connect": self._connect, "socket.bind": self._bind,
                    "socket.sendto": self._connect, "socket.sendmsg": self._connect, "socket.getaddrinfo": self._name,
                    "socket.gethostbyname": self._name, "socket.gethostbyaddr": self._name,
                    "sqlite3.connect": self._sqlite, "ctypes.dlopen": self._library, "os.link": self._link,
                    "os.rename": self._rename}  # fmt: skip
        handlers |= {e: lambda event, args: self._writes(args[CHANGES[event]]) for e in CHANGES}
        handlers |= dict.fromkeys(STARTS, self._starts)

        def hook(event: str, args: tuple[Any, ...]) -> None:
            handler = handlers.get(event)
            if handler is None or self.busy:
                return
            self.busy = True
            try:
                handler(event, args)
            finally:
                self.busy = False

        builtins.__import__ = self._import
        self._environment()
        sys.addaudithook(hook)

    def note(self, kind: str, what: str, at: str | None = None) -> None:
        """Tell one thing once."""
        thing = (kind, what[:400], self.where() if at is None else at)
        if thing not in self.told and len(self.told) < MOST:
            self.told.add(thing)
            self.tell(dict(zip(("kind", "what", "at"), thing, strict=True)))

    def where(self) -> str:
        """Return file:line of the innermost frame that is the audited code's own, or ""."""
        frame = sys._getframe(1)
        while frame is not None:
            if self.mine(frame.f_code.co_filename):
                return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def mine(self, file: str) -> bool:
        """Return whether a source file belongs to the audited code."""
        return file.startswith(self.own + os.sep) and (self.installed or not _inside(file, self.code))

    # ---- files ----
    def _open(self, _: str, args: tuple[Any, ...]) -> None:
        path, mode, flags = args
        changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if (isinstance(flags, int) and flags & changing) or (isinstance(mode, str) and set(mode) & set("wax+")):
            self._writes(path)
        else:
            self.reads(path)

    def reads(self, path: Any) -> None:
        """Note the reading of a file outside the interpreter's folders and the scratch folder."""
        text = _text(path)
        if not text or "\0" in text:
            return
        full = os.path.realpath(text)
        if _inside(full, (self.scratch,)):
            # A relative path means the user's folder where he works, and nothing here.
            if not os.path.isabs(text) and not os.path.exists(full):
                self.note("missing", text)
            return
        if full.endswith(SOURCES) or full.startswith(DEVICES) or _inside(full, (*self.code, *SYSTEM)):
            return
        if not os.path.isdir(full):
            self.note("read", full)

    def _writes(self, path: Any) -> None:
        text = _text(path)
        if not text or "\0" in text:
            return
        full = os.path.realpath(text)
        if _inside(full, (self.scratch, "/proc", "/dev/shm")) or full.startswith(DEVICES):
            return
        self.note("write", full)
        raise PermissionError(f"hitherto audit: writing outside the scratch folder is refused: {full}")

    def _link(self, _: str, args: tuple[Any, ...]) -> None:
        self.reads(args[0])
        self._writes(args[1])

    def _rename(self, _: str, args: tuple[Any, ...]) -> None:
        self._writes(args[0])
        self._writes(args[1])

    def _sqlite(self, _: str, args: tuple[Any, ...]) -> None:
        path = _text(args[0]).removeprefix("file:").partition("?")[0]
        if path and not path.startswith(":"):
            self.reads(path)

    # ---- network, processes, libraries ----
    def _connect(self, event: str, args: tuple[Any, ...]) -> None:
        self._refuse("network", event.removeprefix("socket."), args[1] if len(args) > 1 else None)

    def _bind(self, event: str, args: tuple[Any, ...]) -> None:
        self._refuse("bind", "bind", args[1] if len(args) > 1 else None)

    def _name(self, _: str, args: tuple[Any, ...]) -> None:
        self._refuse("network", "look up", tuple(a for a in args[:2] if a is not None))

    def _refuse(self, kind: str, what: str, address: Any) -> None:
        if not isinstance(address, tuple) or not address:
            return  # a socket of this machine's file system
        text = f"{what} {':'.join(str(a) for a in address[:2])}"
        self.note(kind, text)
        raise PermissionError(f"hitherto audit: the network is refused: {text}")

    def _starts(self, event: str, args: tuple[Any, ...]) -> None:
        at = self.caller(("subprocess.py", "multiprocessing", "concurrent", "joblib", "<frozen os>", "os.py"))
        if at:
            told = next((a for a in args if isinstance(a, (str, bytes))), b"")
            self.note("process", f"{event.removeprefix('os.')} {os.path.basename(os.fsdecode(told))}".strip(), at)

    def _library(self, _: str, args: tuple[Any, ...]) -> None:
        at = self.caller(("ctypes",))
        if at and isinstance(args[0], str):
            self.note("library", args[0], at)

    def caller(self, through: tuple[str, ...]) -> str:
        """Return file:line of the audited code if it is what called, directly or by files named ``through``."""
        frame: Any = sys._getframe(1)
        while frame is not None and not self.mine(frame.f_code.co_filename):
            if frame.f_code.co_filename != __file__ and not set(frame.f_code.co_filename.split(os.sep)) & set(through):
                return ""
            frame = frame.f_back
        return "" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"

    # ---- imports: the clock as audited code sees it, and readers that no audit event tells of ----
    def _import(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:  # noqa: A002
        module = self.import_(name, globals, locals, fromlist, level)
        if level == 0 and globals is not None and self.mine(str(globals.get("__file__", ""))):
            if name in self.clocks:
                return self.clocks[name]
            self._wrap(name)
        return module

    def _wrap(self, name: str) -> None:
        for package, names in READERS.items():
            module = sys.modules.get(package)
            if module is None or package in self.wrapped or package.partition(".")[0] != name.partition(".")[0]:
                continue
            self.wrapped.add(package)
            for one in names:
                found = getattr(module, one, None)
                if isinstance(found, types.FunctionType):  # classes stay: isinstance must work on them
                    setattr(module, one, self._reader(found))
            if package == "pandas":
                self._timestamp(module.Timestamp)

    def _reader(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def reader(*args: Any, **kwargs: Any) -> Any:
            source = args[0] if args else next(iter(kwargs.values()), None)
            if isinstance(source, (str, os.PathLike)) and "://" not in str(source):
                self.reads(os.fspath(source))
            return function(*args, **kwargs)

        reader.__name__, reader.__doc__ = function.__name__, function.__doc__
        return reader

    def _said(self, what: str) -> float:
        """Note a reading of the clock by the audited code, and return the shift it is to see."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        if frame is None or not self.mine(frame.f_code.co_filename):
            return 0.0
        self.note("clock", what, f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}")
        return self.shift

    def _time(self) -> types.ModuleType:
        out = types.ModuleType("time")
        out.__dict__.update(vars(real_time))
        now = real_time.time

        def broken(name: str) -> Callable[..., Any]:
            plain = getattr(real_time, name)

            def read(seconds: float | None = None) -> Any:
                return plain(now() + self._said(f"time.{name}()") if seconds is None else seconds)

            return read

        def strftime(text: str, t: Any = None) -> str:
            when = real_time.localtime(now() + self._said("time.strftime()")) if t is None else t
            return real_time.strftime(text, when)

        out.__dict__.update(
            {n: broken(n) for n in ("localtime", "gmtime", "ctime")},
            time=lambda: now() + self._said("time.time()"),
            time_ns=lambda: real_time.time_ns() + int(self._said("time.time_ns()") * 1e9),
            strftime=strftime,
        )
        return out

    def _datetime(self) -> types.ModuleType:
        out = types.ModuleType("datetime")
        out.__dict__.update(vars(real_datetime))
        real, day = real_datetime.datetime, real_datetime.date

        def moved(what: str, zone: Any = None) -> real_datetime.datetime:
            return real.fromtimestamp(real_time.time() + self._said(what), zone)

        def utcnow() -> real_datetime.datetime:
            return moved("datetime.utcnow()", real_datetime.UTC).replace(tzinfo=None)

        out.__dict__["datetime"] = _facade(real, now=lambda tz=None: moved("datetime.now()", tz), utcnow=utcnow,
                                           today=lambda: moved("datetime.today()"))  # fmt: skip
        out.__dict__["date"] = _facade(day, today=lambda: moved("date.today()").date())
        return out

    def _timestamp(self, stamp: Any) -> None:
        now = stamp.now

        def moved(what: str) -> Any:
            return staticmethod(lambda tz=None: now(tz) + real_datetime.timedelta(seconds=self._said(what)))

        stamp.now, stamp.today = moved("Timestamp.now()"), moved("Timestamp.today()")

    def _environment(self) -> None:
        """Note names of environment variables that the audited code itself asks for."""
        kind = type(os.environ)
        plain = kind.__getitem__

        def get(environ: Any, key: Any) -> Any:
            if at := self.caller(ENVIRON_FILES):
                self.note("environment", str(key), at)
            return plain(environ, key)

        kind.__getitem__ = get  # type: ignore[method-assign]


def _facade(real: type, **changed: Callable[..., Any]) -> type:
    """Return a class that makes and recognises the real one's objects, with some class methods replaced."""

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return real(*args, **kwargs) if cls is made else super().__call__(*args, **kwargs)

        def __instancecheck__(cls, one: Any) -> bool:
            return isinstance(one, real) if cls is made else super().__instancecheck__(one)

        def __subclasscheck__(cls, one: type) -> bool:
            return issubclass(one, real) if cls is made else super().__subclasscheck__(one)

    made = Meta(real.__name__, (real,), {n: staticmethod(f) for n, f in changed.items()})
    return made


def _text(path: Any) -> str:
    """Return a path as text, "" for a handle that is open already."""
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == f or path.startswith(f + os.sep) for f in folders)


def _code_folders() -> tuple[str, ...]:
    """Folders of the interpreter and of installed packages, and this package's own."""
    paths = sysconfig.get_paths()
    found = [paths[k] for k in ("stdlib", "platstdlib", "purelib", "platlib", "include") if k in paths]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found += [os.path.join(p, d) for p in (sys.prefix, sys.base_prefix) for d in ("lib", "share", "etc", "pyvenv.cfg")]
    found.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return tuple(dict.fromkeys(os.path.realpath(f) for f in found))
