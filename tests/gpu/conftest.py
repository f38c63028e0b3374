import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def needs_gpu():
    """Every test of this folder is skipped where there is no GPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
