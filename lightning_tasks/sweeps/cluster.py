"""The runs of a sweep on the workers of a Dask cluster, which starts and ends without us: `--scheduler ADDRESS`."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from typing import Any

Place = tuple[Executor, Callable[[Callable[[], Any]], Any]]  # and what calls a function in each process of it


@contextlib.contextmanager
def connect(address: str) -> Iterator[Place]:
    """Connect to the scheduler of a cluster, until the block ends.

    A run whose worker dies is tried again on another one, four times at the most.

    Args:
        address: Address of the scheduler, as tcp://HOST:8786.

    Yields:
        An executor on the workers, and what calls a function in each of their processes.

    Raises:
        ImportError: If Dask is not installed; says how to.
        OSError: If there is no scheduler.
        RuntimeError: In the block, if the scheduler has gone.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("--scheduler needs Dask: pip install 'lightning-tasks[cluster]'") from None
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what is lost is said in one line
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise OSError(f"--scheduler: no Dask scheduler at {address} ({error})") from None
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        print(f"{address}: {len(workers)} workers, {sum(each['nthreads'] for each in workers)} runs at a time")
        try:
            yield client.get_executor(pure=False), client.run
        except CancelledError:
            raise RuntimeError(f"the scheduler at {address} has gone; the same command resumes from here") from None
