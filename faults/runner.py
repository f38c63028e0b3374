"""Runs tests in a child process, on a copy of the project that may have a fault."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import coverage
import pytest

from faults.operators import Fault

# Imported once, since a child that is forked has them at once: seconds for each fault. Nothing of the project.
HEAVY = (
    "hypothesis jsonargparse jsonschema kornia.augmentation matplotlib.figure pytorch_lightning.cli rich.table"
    " scipy.stats sklearn.manifold tensorboard torch.utils.tensorboard torchmetrics.classification torchvision.datasets"
)
PATIENCE = 60  # seconds that a child may take beyond three times those of its tests
MEMORY = 16 * 2**30  # bytes a child may allocate, so that a fault cannot take the machine down
TEST = "FAULTS_TEST"  # environment variable: the test under way, for processes that it starts
PROCESS = "process "  # begins the coverage context of such a process, before the test that started it
IMPORT = "import "  # begins the coverage context of the import of a file of tests, before its name


class Project:
    """Copies of a project, and what its tests do on unchanged code.

    Args:
        root: Folder of the project, under git; files that git ignores are not copied.

    Attributes:
        unchanged: The copy that never gets a fault. What others change in `root` meanwhile has no effect.
        seconds: How long each test that passed there took.
        left_out: Tests that did not pass there.
        ran: For each file and line the coverage contexts that executed it: tests, processes and imports.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        self.unchanged = self.folder / "unchanged"
        self._trusted: set[str] = set()
        command = ["git", "ls-files", "-coz", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
        for name in listed.split("\0"):
            if name and (root / name).is_file():  # not one that is deleted but not yet committed
                (self.unchanged / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, self.unchanged / name)

    def measure(self, paths: list[str], tests: list[str]) -> None:
        """Run tests on the unchanged code and see which lines of packages and files each of them executes."""
        for name in HEAVY.split():
            import_module(name)
        import_module("torch").set_num_threads(1)
        watched = [f"{self.unchanged / path}{end}" for path in paths for end in ("", "/*")]
        result = self._in_child(self.unchanged, tests, _Measure(self.folder, watched), limit=None)
        if not isinstance(result, tuple):
            output = (self.folder / "output.txt").read_text()
            raise RuntimeError(f"the tests did not run to their end: {result}\n{output[-5000:]}")
        self.seconds, self.left_out = result
        measured = coverage.Coverage(data_file=str(self.folder / "coverage"), config_file=False)
        measured.combine([str(self.folder)])
        data = measured.get_data()
        self.ran: dict[str, dict[int, set[str]]] = defaultdict(dict)
        for file in data.measured_files():
            lines = data.contexts_by_lineno(file)
            self.ran[str(Path(file).relative_to(self.unchanged))] = {line: set(those) for line, those in lines.items()}

    def close(self) -> None:
        """Remove the copies."""
        shutil.rmtree(self.folder)

    def tests_of(self, fault: Fault, budget: float) -> list[str]:
        """Choose the tests that execute the changed statement, the shortest first, as many as fit in a time.

        What runs when a file of tests is imported may be noticed by any of its tests; that may be an object which they
        share, or a default, which is noticed by tests of the scope around it, if at all.

        Args:
            fault: The fault to be noticed.
            budget: Seconds that they may take on the unchanged code, all together.
        """
        chosen: set[str] = set()
        for first, last in fault.ranges:
            found = {each for line, those in self.ran[fault.path].items() if first <= line <= last for each in those}
            for test in self.seconds:
                if not found.isdisjoint((test, PROCESS + test, IMPORT + test.partition("::")[0])):
                    chosen.add(test)
            imports = {each for each in found if not each or each.startswith(IMPORT)}
            if not imports or any(not each.startswith(PROCESS) for each in found - imports):
                break
        else:
            chosen = set(self.seconds)
        tests: list[str] = []
        total = 0.0
        for test in sorted(chosen, key=lambda test: (self.seconds[test], test)):
            total += self.seconds[test]
            if tests and total > budget:
                break
            tests.append(test)
        return tests

    def notice(self, fault: Fault, tests: list[str]) -> str | None:
        """Run tests on a fault; returns the first test that fails, or how else it was noticed, or None."""
        while tests:
            by = self._run(tests, fault)
            if by not in tests or by in self._trusted:
                return by
            # Does it pass on the unchanged code after these others, too?
            if self._run(tests[: tests.index(by) + 1]) is None:
                self._trusted.add(by)
                return by
            self.left_out.append(by)
            del self.seconds[by]
            tests = [test for test in tests if test != by]
        return None

    def _run(self, tests: list[str], fault: Fault | None = None) -> str | None:
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.unchanged, copy)
        if fault is not None:
            file = copy / fault.path
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
                compiled.unlink()
            file.write_text(fault.text())
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        limit = PATIENCE + 3 * sum(self.seconds[test] for test in tests)
        return self._in_child(copy, files, _Choose(tests), limit)

    def _in_child(self, copy: Path, tests: list[str], plugin: "_Measure | _Choose", limit: float | None) -> Any:
        """Fork, run tests in a copy, and give what the plugin found, or a word on how the child ended."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(self.folder, copy, tests, plugin, sender))
        process.start()
        sender.close()
        try:
            return receiver.recv() if receiver.poll(limit) else "time limit"
        except EOFError:
            return "crash"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)  # with all that the tests started
            process.join()


def _child(folder: Path, copy: Path, tests: list[str], plugin: "_Measure | _Choose", sender: Any) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ |= {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    if isinstance(plugin, _Choose):
        # A compiled file is known by its time in whole seconds and its size, which a fault may leave as they are.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    words = [f"--rootdir={copy}", f"--basetemp={folder / 'tmp'}", "-p", "no:cacheprovider", "-q", *tests]
    sender.send(plugin.run(words))


class _Measure:
    """Watches which test executes which line, also in processes that a test starts."""

    def __init__(self, folder: Path, watched: list[str]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.left_out: set[str] = set()
        self.folder = folder
        self.watched = watched

    def run(self, words: list[str]) -> tuple[dict[str, float], list[str]]:
        data_file = str(self.folder / "coverage")
        settings = self.folder / "coveragerc"
        settings.write_text(
            f"[run]\nparallel = true\ndata_file = {data_file}\ncontext = {PROCESS}${{{TEST}}}\ninclude =\n"
            + "".join(f"    {each}\n" for each in self.watched)
        )
        os.environ["COVERAGE_PROCESS_START"] = str(settings)
        self.coverage = coverage.Coverage(data_file, data_suffix=True, include=self.watched, config_file=False)
        self.coverage.start()
        pytest.main([*words, "--continue-on-collection-errors"], plugins=[self])
        self.coverage.stop()
        self.coverage.save()
        return {test: time for test, time in self.seconds.items() if test not in self.left_out}, sorted(self.left_out)

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.Module):
            self.coverage.switch_context(IMPORT + collector.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.coverage.switch_context(item.nodeid)
        os.environ[TEST] = item.nodeid
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.left_out.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.left_out.add(report.nodeid)


class _Choose:
    """Runs chosen tests in a given order, up to the first that fails."""

    def __init__(self, tests: list[str]) -> None:
        self.place = {test: index for index, test in enumerate(tests)}
        self.failed: str | None = None

    def run(self, words: list[str]) -> str | None:
        status = pytest.main([*words, "--exitfirst", "--tb=no"], plugins=[self])
        unharmed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        return self.failed or (None if status in unharmed else f"exit status {status}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed = self.failed or f"import of {report.nodeid}"
