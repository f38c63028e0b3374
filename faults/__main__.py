"""Seed faults and list those that no test notices: `python -m faults --sample 200 --seed 0 [path ...]`."""

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

from faults.operators import Fault, faults
from faults.runner import Project

ROOT = Path(__file__).parent.parent
PATHS = ["lightning_tasks", "datamodules", "drawings", "live", "results", "sweeps", "runs"]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """Draw faults, try them one after the other, print a line for each and a summary, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("paths", nargs="*", default=PATHS, help=f"packages and files; {' '.join(PATHS)} if none given")
    parser.add_argument("--sample", type=int, default=200, help="number of faults, drawn evenly from all possible ones")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--from", dest="former", type=Path, help="former report: try its survivors instead of a sample")
    parser.add_argument("--list", action="store_true", help="print the faults and try none")
    parser.add_argument("--report", type=Path, help="JSON file to write")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="files and folders of tests that may notice")
    parser.add_argument("--budget", type=float, default=60, help="seconds of tests that a fault has to survive")
    options = parser.parse_args(arguments)
    if missing := [path for path in options.paths if not (root / path).exists()]:
        parser.error(f"no {', '.join(missing)} in {root}")
    project = Project(root)
    try:
        _try(project, options)
    finally:
        project.close()


def _try(project: Project, options: argparse.Namespace) -> None:
    possible = {path: _possible(project.unchanged, path) for path in options.paths}
    chosen = [(path, fault) for path, those in possible.items() for fault in those]
    if options.former:
        keys = [tuple(each["key"]) for each in json.loads(options.former.read_text())["faults"] if not each["by"]]
        chosen = [(path, fault) for path, fault in chosen if fault.key in keys]
        print(f"{len(chosen)} of {len(keys)} survivors of {options.former} are still possible")
    else:
        drawn = set(random.Random(options.seed).sample(range(len(chosen)), min(options.sample, len(chosen))))
        chosen = [each for index, each in enumerate(chosen) if index in drawn]
    if options.list:
        for _, fault in chosen:
            print(_describe(fault))
        return
    project.measure(options.paths, options.tests)
    print(f"{len(project.seconds)} tests in {sum(project.seconds.values()):.0f} s; these do not pass and do not count:")
    print("".join(f"    {test}\n" for test in project.left_out) or "    none\n", end="")
    tried: list[dict[str, Any]] = []
    try:
        for path, fault in chosen:
            started = time.perf_counter()
            tests = project.tests_of(fault, options.budget)
            by = project.notice(fault, tests)
            seconds = round(time.perf_counter() - started, 2)
            said = f"caught by {by}" if by else f"SURVIVED {len(tests)} tests" if tests else "SURVIVED: nothing runs it"
            print(f"{said} ({seconds:.1f} s): {_describe(fault)}", flush=True)
            tried.append({"package": path, "key": fault.key, "line": fault.ranges[0][0], "by": by, "tests": len(tests)})
            tried[-1]["seconds"] = seconds
    finally:
        print("\n".join(_summary(possible, tried)))
        if options.report:
            report = {"sample": options.sample, "seed": options.seed, "left_out": project.left_out, "faults": tried}
            options.report.write_text(json.dumps(report, indent=1) + "\n")


def _possible(root: Path, path: str) -> list[Fault]:
    files = sorted((root / path).rglob("*.py")) if (root / path).is_dir() else [root / path]
    return [fault for file in files for fault in faults(str(file.relative_to(root)), file.read_text())]


def _describe(fault: Fault) -> str:
    """Name place and kind, and show the change with what is around it, cut where it is long."""
    before, after = fault.before, fault.after
    start = max(0, next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0) - 50)
    shown = [("..." if start else "") + text[start : start + 100] for text in (before, after)]
    return f"{fault.path}:{fault.ranges[0][0]} {fault.scope} {fault.operator}: {shown[0]} -> {shown[1]}"


def _summary(possible: dict[str, list[Fault]], tried: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'':28}{'possible':>9}{'tried':>9}{'caught':>9}{'survived':>9}{'share':>9}"]
    for name in (*possible, "all"):
        those = [each for each in tried if name in (each["package"], "all")]
        count = sum(len(each) for path, each in possible.items() if name in (path, "all"))
        survived = sum(not each["by"] for each in those)
        share = f"{survived / len(those):9.1%}" if those else f"{'-':>9}"
        lines.append(f"{name:28}{count:9}{len(those):9}{len(those) - survived:9}{survived:9}{share}")
    return lines


if __name__ == "__main__":
    main()
