"""What the campaign tried, and how often it went well: a table at the end of the tests, and as CSV for the README."""

import ast
import csv
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "campaign"


def pytest_addoption(parser):
    parser.addoption("--campaign", type=Path, metavar="FILE", help="count what the campaign tried in this CSV")


def pytest_terminal_summary(terminalreporter, config):
    counts = count(terminalreporter.stats)
    if not counts:
        return
    terminalreporter.section("campaign")
    terminalreporter.write_line(f"{'':24}{'tried':>8}{'passed':>8}{'failed':>8}")
    for kind, each in counts.items():
        numbers = "".join(f"{each[name]:8}" for name in ("tried", "passed", "failed"))
        terminalreporter.write_line(f"{kind.replace('_', ' '):24}{numbers}")
    if config.option.campaign:
        from lightning_tasks.callbacks.run_card import commit

        write(config.option.campaign, counts, commit())


def count(stats):
    """Count the tests of each file of the campaign by their outcome; an error before or after a test is a failure."""
    counts = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            if "campaign/test_" in report.nodeid and (report.when == "call" or outcome in ("error", "skipped")):
                kind = report.nodeid.split("campaign/test_")[1].split(".py")[0]
                each = counts.setdefault(kind, {"tried": 0, "passed": 0, "failed": 0, "skipped": 0})
                each["failed" if outcome == "error" else outcome] += 1
                each["tried"] += outcome != "skipped"
    return dict(sorted(counts.items()))


def write(path, counts, commit):
    """Write them to a CSV; other files' counts that it has stay, since files may be run one by one."""
    rows = {row["kind"]: row for row in csv.DictReader(path.read_text().splitlines())} if path.exists() else {}
    for kind, each in counts.items():
        what = ast.get_docstring(ast.parse((FOLDER / f"test_{kind}.py").read_text())).splitlines()[0]
        rows[kind] = {"kind": kind, "what": what, **each, "commit": commit}
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[kind]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[kind] for kind in sorted(rows))
