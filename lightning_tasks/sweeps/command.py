"""Run what a sweep still lacks, and write its table: `python cli.py sweep configs/sweeps/NAME.yaml`.

Each cell and seed is a run of `cli.py fit` in a process of its own, under logs/<sweep>/<cell>/, without plots. A run
whose card is there and fits the config as it is now is not repeated; one that was stopped resumes from its last
checkpoint. With --scheduler the runs are spread over the workers of a Dask cluster. Words after -- are given to every
run, as `-- --data.root /data`.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lightning_tasks.runs.errors import describe
from lightning_tasks.runs.paths import config_path, user_path
from lightning_tasks.runs.program import PROGRAM
from lightning_tasks.sweeps import report
from lightning_tasks.sweeps.cluster import Place, connect
from lightning_tasks.sweeps.plan import read
from lightning_tasks.sweeps.runner import Runner


def run_all(
    run: Runner, pool: Executor, everywhere: Callable[[Callable[[], Any]], Any]
) -> tuple[list[report.Card], int]:
    """Run every cell with every seed, and say what came of each.

    Args:
        run: Runs one.
        pool: Runs several at a time.
        everywhere: Calls a function in each process of the pool.

    Returns:
        The cards, and how many runs failed.
    """
    plan = [(cell, seed) for seed in run.sweep.seeds for cell in run.sweep.cells()]
    cards, failed = [], 0
    with pool:
        futures = [pool.submit(run, *each) for each in plan]
        try:
            for number, (future, (cell, seed)) in enumerate(zip(futures, plan, strict=True), 1):
                try:
                    card, took = future.result()
                    cards.append(card)
                    values = {metric: card["metrics"].get(metric, float("nan")) for metric in run.sweep.metrics}
                    outcome = ", ".join([*(f"{metric} {value:.4f}" for metric, value in values.items()), took])
                except CancelledError:  # with all that follow, as the pool has gone
                    raise
                except Exception as error:
                    failed += 1
                    outcome = f"failed: {error if isinstance(error, RuntimeError) else describe(error)}"
                print(f"[{number}/{len(plan)}] {', '.join(cell.values.values())}, seed {seed}: {outcome}", flush=True)
        except KeyboardInterrupt:
            for future in futures:
                future.cancel()
            everywhere(run.stop)
            raise
    return cards, failed


def main(args: list[str]) -> int:
    """Run the sweep; 1 if a run failed, after all others have been tried."""
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=config_path, help="the sweep, as configs/sweeps/*.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those in the file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=1, help="runs at a time; each is given its share of the cores")
    where.add_argument("--scheduler", help="of a Dask cluster that is to do the runs, as tcp://HOST:8786")
    parser.add_argument("--logs", type=user_path, default=Path("logs"), help="where the runs are kept")
    split = args.index("--") if "--" in args else len(args)
    options = parser.parse_args(args[:split])
    try:
        sweep = read(options.file)
        if options.seeds:
            sweep = replace(sweep, seeds=options.seeds)
        if options.jobs < 1:
            raise ValueError(f"--jobs must be at least 1, got {options.jobs}")
        run = Runner(sweep, options.logs, args[split + 1 :])
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    if options.jobs > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    folder = options.logs / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    place: AbstractContextManager[Place]
    if options.scheduler:
        place = connect(options.scheduler)
    else:
        place = nullcontext((ThreadPoolExecutor(options.jobs), lambda function: function()))
    try:
        with FileLock(folder / ".lock", timeout=0), place as (pool, everywhere):
            cards, failed = run_all(run, pool, everywhere)
    except Timeout:
        sys.exit(f"error: another process is running this sweep in {folder}")
    except (ImportError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped; the same command resumes from here", file=sys.stderr)
        return 130
    table = report.rows(sweep, cards, run.hashes)
    report.write(sweep, table, folder)
    print(report.markdown(sweep, table))
    print(f"\ntable, data and plot: {folder / sweep.name}.{{md,csv,png}}")
    if failed:
        print(f"error: {failed} runs failed", file=sys.stderr)
    return int(failed > 0)
