"""The counts of the campaign, by hand."""

from types import SimpleNamespace

from helpers.campaign_counts import count, write

from tools.results.tables import campaign_table


def reports(*tests):
    return [SimpleNamespace(nodeid=f"tests/{name}", when=when) for name, when in tests]


STATS = {
    "": reports(("campaign/test_kills.py::a", "setup")),
    "passed": reports(*[("campaign/test_kills.py::a", "call")] * 5, ("campaign/test_bad_input.py::b", "call"))
    + reports(("test_kills.py::of-another-folder", "call")),
    "failed": reports(*[("campaign/test_kills.py::c", "call")] * 2),
    "error": reports(("campaign/test_kills.py::d", "setup"), ("campaign/test_bad_input.py::e", "teardown")),
    "skipped": reports(*[("campaign/test_bad_input.py::f", "setup")] * 4),
}
KILLS = {"tried": 8, "passed": 5, "failed": 3, "skipped": 0}
BAD_INPUT = {"tried": 2, "passed": 1, "failed": 1, "skipped": 4}


def test_counts_by_file():
    assert count(STATS) == {"bad_input": BAD_INPUT, "kills": KILLS}
    assert count({"passed": reports(("test_cli.py::a", "call"))}) == {}


def test_files_that_were_not_run_stay_in_the_table(tmp_path):
    path = tmp_path / "campaign.csv"
    write(path, count(STATS), "a" * 40)
    write(path, {"kills": KILLS | {"tried": 9, "passed": 6}}, f"{'b' * 40} with changes in cli.py")
    lines = campaign_table(path).splitlines()
    assert lines[2].startswith("| Bad input: ")
    assert lines[2].endswith(" | 2 | 1 | 1 |")
    assert lines[3].startswith("| Killed and resumed runs ")
    assert lines[3].endswith(" | 9 | 6 | 3 |")
    assert lines[-1] == f"Commits {'a' * 10}, {'b' * 10} with changes in cli.py; 4 skipped."
