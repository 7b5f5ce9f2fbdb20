"""``python -m corpus [NAME ...]``: audit all items, or some; the last line is one JSON object with the score."""

from __future__ import annotations

import json
import sys

from corpus import runner


def line(row: runner.Row) -> str:
    """Return one row of the table."""
    if not row.ran:
        said = "not run"
    elif row.leak:
        said = "caught" if row.caught else "MISSED"
    else:
        said = "FALSE ALARM" if row.caught else "clean"
    reach = "" if row.declared is None and row.reach is None else f"reach {row.declared} found {row.reach}"
    found = f"{' '.join(row.by)} [{' '.join(row.classes)}]" if row.caught else row.note
    return f"{row.name:<38}{row.leak or '-':<5}{row.kind:<9}{said:<12}{row.seconds:5.1f} s  {reach:<22}{found}".rstrip()


def main(names: list[str]) -> int:
    """Run, print, and store what was said in the matrix; exit code 1 when something was missed or alarmed falsely."""
    try:
        items = runner.load_all(names or None)
    except ValueError as e:
        sys.stderr.write(f"{e}\n")
        return 2
    rows = []
    for item in items:
        rows.append(runner.run(item))
        sys.stdout.write(line(rows[-1]) + "\n")
        sys.stdout.flush()
    declared = sum(r.leak is not None and r.declared is not None for r in rows)
    sys.stdout.write(f"{sum(not r.ran for r in rows)} not run; {declared} planted items declare a reach\n")
    runner.write_matrix(rows)
    counts = runner.score(rows)
    sys.stdout.write(json.dumps(counts) + "\n")
    return int(counts["caught"] < counts["planted"] or counts["false_alarms"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
