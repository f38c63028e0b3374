"""A user's module."""

import pytest
from helpers.external_nets import NETS


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A user's module in the current folder."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "own_nets", raising=False)
    import own_nets

    return own_nets
