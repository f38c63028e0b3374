"""Run what a sweep still lacks, and write its table: `python -m sweeps configs/sweeps/NAME.yaml`.

Each cell and seed is a run of `cli.py fit` in a process of its own, under logs/<sweep>/<cell>/, without pictures. A run
whose card is there and fits the config as it is now is not repeated; one that was stopped goes on from its last
checkpoint. Words after -- are given to every run, as `-- --data.root /data`.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from parsing import task_parser
from runs.errors import one_line
from runs.folders import CARD, LAST, read_card_file, versions
from runs.identity import config_hash, read_command, read_run
from sweeps import report
from sweeps.plan import Cell, Sweep, read

CLI = Path(__file__).parent.parent / "cli.py"


class Runner:
    """Runs the cells of a sweep.

    Args:
        sweep: The sweep.
        logs: Folder of the runs.
        extra: Words for the command line of every run.

    Attributes:
        hashes: Hash of the configuration of each cell, by its folder.

    Raises:
        ValueError: If the command line of a cell is not valid.
    """

    def __init__(self, sweep: Sweep, logs: Path, extra: list[str]) -> None:
        self.sweep = sweep
        self.logs = logs
        self.extra = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
        self.extra += ["--pictures=false", f"--trainer.default_root_dir={logs}", *extra]
        commands = {cell.folder: [*sweep.command(cell), *self.extra] for cell in sweep.cells()}
        configurations = {folder: read_command(task_parser(), words) for folder, words in commands.items()}
        self.hashes = {folder: config_hash(each) for folder, each in configurations.items()}
        self.processes: set[subprocess.Popen] = set()
        self._parsing = threading.Lock()

    def __call__(self, cell: Cell, seed: int) -> tuple[report.Card, str]:
        """Run one cell with one seed, unless it is done.

        Returns:
            The run card, and how long it took.

        Raises:
            RuntimeError: If the run failed; with the last line that it wrote.
        """
        card, unfinished = self._look(cell, seed)
        if card:
            return card, "done before"
        words = [*self.sweep.command(cell), *self.extra, f"--seed_everything={seed}"]
        if unfinished:
            words.append("--ckpt_path=last")
        start = time.perf_counter()
        log = self.logs / self.sweep.experiment(cell) / f"seed_{seed}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as file:
            process = subprocess.Popen([sys.executable, str(CLI), *words], stdout=file, stderr=subprocess.STDOUT)
            self.processes.add(process)
            code = process.wait()
            self.processes.discard(process)
        lines = log.read_text().strip().splitlines()
        if code:
            raise RuntimeError(f"{lines[-1] if lines else f'exit status {code}'} ({log})")
        card, _ = self._look(cell, seed)
        if card is None:
            raise RuntimeError(f"the run left no card, as runs do of a part of the data or without a test ({log})")
        return card, f"{time.perf_counter() - start:.0f} s"

    def _look(self, cell: Cell, seed: int) -> tuple[report.Card | None, bool]:
        """Find the newest run of this cell and seed: its card, or else whether there is one to go on with."""
        for run in versions(self.logs / self.sweep.experiment(cell)):
            if not ((run / CARD).is_file() or (run / LAST).is_file()):
                continue
            try:
                with self._parsing:
                    their_seed, theirs = read_run(task_parser(), run)
            except (ValueError, OSError):  # what cannot be read is no run of this cell
                continue
            if their_seed == seed and config_hash(theirs) == self.hashes[cell.folder]:
                if not (run / CARD).is_file():
                    return None, True
                # The hash of today: a new option with a default may have changed it since.
                return read_card_file(run / CARD) | {"config_hash": config_hash(theirs)}, False
        return None, False

    def stop(self) -> None:
        """End the runs that are under way; their checkpoints stay."""
        for process in list(self.processes):
            process.terminate()


def run_all(run: Runner, jobs: int) -> tuple[list[report.Card], int]:
    """Run every cell with every seed, and say what came of each; the cards, and how many runs failed."""
    plan = [(cell, seed) for seed in run.sweep.seeds for cell in run.sweep.cells()]
    cards, failed = [], 0
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, *each) for each in plan]
        try:
            for number, (future, (cell, seed)) in enumerate(zip(futures, plan, strict=True), 1):
                try:
                    card, took = future.result()
                    cards.append(card)
                    values = {metric: card["metrics"].get(metric, float("nan")) for metric in run.sweep.metrics}
                    outcome = ", ".join([*(f"{metric} {value:.4f}" for metric, value in values.items()), took])
                except RuntimeError as error:
                    failed += 1
                    outcome = f"failed: {error}"
                print(f"[{number}/{len(plan)}] {', '.join(cell.values.values())}, seed {seed}: {outcome}", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            run.stop()
            raise
    return cards, failed


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
    split = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:split])
    try:
        sweep = read(options.file)
        if options.seeds:
            sweep = replace(sweep, seeds=options.seeds)
        if options.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
        run = Runner(sweep, options.logs, words[split + 1 :])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.jobs > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    folder = options.logs / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        with FileLock(folder / ".lock", timeout=0):
            cards, failed = run_all(run, options.jobs)
    except Timeout:
        sys.exit(f"error: another process is running this sweep in {folder}")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    table = report.rows(sweep, cards, run.hashes)
    report.write(sweep, table, folder)
    print(report.markdown(sweep, table))
    print(f"\ntable, data and picture: {folder / sweep.name}.{{md,csv,png}}")
    if failed:
        print(f"error: {failed} runs failed", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    one_line(lambda: sys.exit(main()))
