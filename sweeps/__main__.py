"""Run what a sweep still lacks, and write its table: `python -m sweeps configs/sweeps/NAME.yaml`.

Each cell and seed is a run of `cli.py fit` in a process of its own, under logs/<sweep>/<cell>/, without pictures. A run
whose card is there and fits the config as it is now is not repeated; one that was stopped goes on from its last
checkpoint. Words after -- are given to every run, as `-- --data.root /data`.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import yaml

from cli import parse
from sweeps import report
from sweeps.plan import Cell, Sweep, read

CLI = Path(__file__).parent.parent / "cli.py"


PARSING = threading.Lock()


class Runner:
    """Runs the cells of a sweep.

    Args:
        sweep: The sweep.
        logs: Folder of the runs.
        extra: Words for the command line of every run.
    """

    def __init__(self, sweep: Sweep, logs: Path, extra: list[str]) -> None:
        self.sweep = sweep
        self.logs = logs
        self.extra = extra

    def __call__(self, cell: Cell, seed: int) -> str:
        """Run one cell with one seed, unless it is done.

        Returns:
            What came of it, in one line.

        Raises:
            RuntimeError: If the run failed; with the last line that it wrote.
        """
        experiment = self.sweep.experiment(cell)
        words = ["fit", f"--config={self.sweep.config}", *cell.words, f"--experiment={experiment}"]
        words += [f"--seed_everything={seed}", f"--trainer.default_root_dir={self.logs}"]
        words += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--pictures=false"]
        words += self.extra
        wanted = _config_hash(words)
        unfinished = False
        for run in sorted((self.logs / experiment).glob("version_*"), key=lambda run: int(run.name[8:])):
            if (run / "run.json").is_file():
                card = json.loads((run / "run.json").read_text())
                if (card["seed"], card["config_hash"]) == (seed, wanted):
                    return f"{self._value(card)}, done before"
            elif (run / "config.yaml").is_file() and (run / "checkpoints" / "last.ckpt").is_file():
                config = yaml.safe_load((run / "config.yaml").read_text())
                same = _config_hash(["fit", f"--config={run / 'config.yaml'}"]) == wanted
                unfinished = same and config["seed_everything"] == seed
        if unfinished:
            words.append("--ckpt_path=last")
        start = time.perf_counter()
        log = self.logs / experiment / f"seed_{seed}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as file:
            code = subprocess.call([sys.executable, str(CLI), *words], stdout=file, stderr=subprocess.STDOUT)
        lines = log.read_text().strip().splitlines()
        if code:
            raise RuntimeError(f"{lines[-1] if lines else f'exit status {code}'} ({log})")
        card = json.loads(Path(next(line for line in reversed(lines) if "run card: " in line)[10:]).read_text())
        return f"{self._value(card)}, {time.perf_counter() - start:.0f} s"

    def _value(self, card: report.Card) -> str:
        return f"{self.sweep.metric} {card['metrics'].get(self.sweep.metric, float('nan')):.4f}"


def _config_hash(words: list[str]) -> str:
    with PARSING:
        return parse(words).config_hash


def main() -> int:
    """Run the sweep; 1 if a run failed, after all others have been tried."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="the sweep, as configs/sweeps/*.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those in the file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; each is given its share of the cores")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="where the runs are kept")
    words = sys.argv[1:]
    extra = words[words.index("--") + 1 :] if "--" in words else []
    options = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    try:
        sweep = read(options.file)
        if options.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.seeds:
        sweep = replace(sweep, seeds=options.seeds)
    if options.jobs > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    plan = [(cell, seed) for seed in sweep.seeds for cell in sweep.cells()]
    run = Runner(sweep, options.logs, extra)
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run, *each) for each in plan]
        try:
            for number, (future, (cell, seed)) in enumerate(zip(futures, plan, strict=True), 1):
                try:
                    outcome = future.result()
                except RuntimeError as error:
                    failed += 1
                    outcome = f"failed: {error}"
                print(f"[{number}/{len(plan)}] {', '.join(cell.values.values())}, seed {seed}: {outcome}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
    cards = [json.loads(path.read_text()) for path in (options.logs / sweep.name).glob("*/version_*/run.json")]
    table = report.rows(sweep, cards)
    report.write(sweep, table, options.logs / sweep.name)
    print(report.markdown(sweep, table))
    print(f"\ntable, data and picture: {options.logs / sweep.name / sweep.name}.{{md,csv,png}}")
    if failed:
        print(f"error: {failed} of {len(plan)} runs failed", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
