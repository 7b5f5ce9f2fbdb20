"""The command line: exit codes, one line per error, no traceback, no partial output."""

import numpy as np
import pytest
from badfiles import BAD_FILES
from badstudies import BAD_STUDIES, GOOD
from typer.testing import CliRunner

import hitherto
from hitherto import cli


def call(monkeypatch, capsys, *args):
    """Run the command line as the console script does; return (exit code, stdout, stderr)."""
    monkeypatch.setattr("sys.argv", ["hitherto", *map(str, args)])
    with pytest.raises(SystemExit) as e:
        cli.main()
    out = capsys.readouterr()
    return e.value.code, out.out, out.err


def good_bars(folder):
    rng = np.random.default_rng(0)
    days = np.datetime64("2015-01-05") + np.arange(140)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.01, (140, 6)), axis=0))
    lines = ["date,symbol,close"]
    lines += [f"{d},S{n},{close[t, n]:.4f}" for n in range(6) for t, d in enumerate(days)]
    (folder / "bars.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", BAD_STUDIES)
def test_bad_studies_end_in_one_line(name, tmp_path, monkeypatch, capsys):
    text, fragment, code = BAD_STUDIES[name]
    good_bars(tmp_path)
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    got, out, err = call(monkeypatch, capsys, "run", tmp_path / "study.toml", "--out", tmp_path / "run", "-q")
    assert (got, out) == (code, ""), err
    assert err.count("\n") == 1
    assert err.startswith("hitherto: ")
    assert fragment in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_end_in_one_line(name, tmp_path, monkeypatch, capsys):
    bars = BAD_FILES[name](tmp_path)
    study = tmp_path / "study.toml"
    study.write_text(GOOD.replace('"bars.csv"', f"'{bars.relative_to(tmp_path)}'"), encoding="utf-8")
    got, out, err = call(monkeypatch, capsys, "run", study, "--out", tmp_path / "run", "-q")
    assert (got, out) == (3, ""), err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_there_are_at_least_sixty_bad_inputs():
    assert len(BAD_FILES) + len(BAD_STUDIES) >= 60


def test_a_good_study_runs_and_an_occupied_folder_is_refused(tmp_path, monkeypatch, capsys):
    good_bars(tmp_path)
    (tmp_path / "study.toml").write_text(GOOD, encoding="utf-8")
    args = ("run", tmp_path / "study.toml", "--out", tmp_path / "run", "-q")
    got, out, err = call(monkeypatch, capsys, *args)
    assert got == 0, err
    assert "report.html" in out
    got, out, err = call(monkeypatch, capsys, *args)
    assert got == 2
    assert "already holds files" in err
    got, _, err = call(monkeypatch, capsys, *args, "--resume")
    assert got == 0, err
    got, _, err = call(monkeypatch, capsys, *args, "--resume", "--set", "seed=8")
    assert got == 2
    assert "holds another study" in err


def test_usage():
    runner = CliRunner()
    assert runner.invoke(cli.app, ["--help"]).exit_code == 0
    assert runner.invoke(cli.app, ["run"]).exit_code == 2
    assert hitherto.__version__ in runner.invoke(cli.app, ["version"]).output


def test_control_codes_never_reach_the_terminal(monkeypatch, capsys, tmp_path):
    _, _, err = call(monkeypatch, capsys, "run", str(tmp_path / "x\x1b[31m.toml"))
    assert "\x1b" not in err


def test_an_internal_error_is_not_taken_for_a_leak(monkeypatch, capsys):
    def broken(*arguments, **options):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.delenv("HITHERTO_DEBUG", raising=False)
    code, out, err = call(monkeypatch, capsys, "version")
    assert (code, out) == (4, "")
    assert err == (
        "hitherto: internal error, ZeroDivisionError: planted; HITHERTO_DEBUG=1 shows where. Please report it\n"
    )
    monkeypatch.setenv("HITHERTO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError, match="planted"):
        cli.main()


def test_the_ladder_ends_with_the_exit_code_of_the_audit(tmp_path, monkeypatch, capsys):
    from hitherto.study import ladder

    monkeypatch.setattr(ladder, "command", lambda *arguments, **options: ("the table", 1))
    code, out, _ = call(monkeypatch, capsys, "ladder", tmp_path / "study.toml", "--out", tmp_path / "run")
    assert (code, out) == (1, "the table\n")


def test_growing_keeps_no_run_folder(tmp_path, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "ladder", tmp_path / "s.toml", "--grow", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err == "hitherto: --grow keeps no run folder: leave --out and --resume out\n"
