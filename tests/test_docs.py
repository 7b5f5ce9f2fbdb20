"""The README does what it says: its study file, its python and its hitherto lines are run; links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hitherto import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the user's prices and the README's study file."""
    here = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    days = np.busday_offset("2016-01-04", np.arange(1150))
    close = 30 * np.exp(np.cumsum(rng.normal(0, 0.015, (len(days), 8)), axis=0))
    columns = {"date": days.astype("datetime64[ms]"), **{f"S{n}": close[:, n] for n in range(8)}}
    pl.DataFrame(columns).with_columns(pl.col("date").cast(pl.Date)).write_parquet(here / "prices.parquet")
    (here / "mine.toml").write_text(blocks("toml")[0], encoding="utf-8")
    return here


def run_line(line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as e:
        cli.main()
    return e.value.code, capsys.readouterr()


def test_the_readme_is_short_and_shows_the_report():
    assert README.count("\n") < 150
    assert (ROOT / "docs" / "report.png").is_file()


def test_every_hitherto_line_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("hitherto ")]
    assert len(lines) >= 5
    for line in lines:
        fits = line.startswith(("hitherto run", "hitherto ladder", "hitherto tune"))
        quick = " --quiet --set models.0.epochs=1" if fits else ""
        code, out = run_line(line + quick, monkeypatch, capsys)
        assert code in (0, None), f"{line}: {out.err}"
    inline = [c for c in re.findall(r"`(hitherto run [^`]+)`", README) if "study.toml" in c]
    assert inline
    for line in inline:
        code, out = run_line(f"{line} --quiet --out runs/repeated", monkeypatch, capsys)
        assert code in (0, None), out.err
    same = "weights.safetensors"
    assert (folder / "runs/repeated" / same).read_bytes() == (folder / "runs/mine" / same).read_bytes()


def test_every_python_block_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for block in blocks("python"):
        code = compile(block, "README.md", "exec")
        namespace = {"__name__": "readme"}
        exec(code, namespace)
    out = capsys.readouterr().out
    assert "equal weight" in out
    assert (folder / "report.html").stat().st_size > 1_000_000


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_exit_codes_are_the_documented_ones():
    from hitherto import errors

    told = dict(re.findall(r"^\| (\d) \| (.+?) \|$", README, re.M))
    assert set(told) == {"0", "1", "2", "3", "4", "5"}
    assert (errors.ConfigError.exit_code, errors.DataError.exit_code, errors.HithertoError.exit_code) == (2, 3, 4)
