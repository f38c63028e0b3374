"""Commands in forked children of a process that has imported everything, so that hundreds of them take minutes."""

import ctypes
import gc
import io
import json
import os
import pkgutil
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning.utilities import rank_zero_only

ROOT = Path(__file__).parents[2]
COMMANDS = "sweep", "export", "live", "compare"


@dataclass
class Finished:
    """What came of a command: its exit status, negative if a signal ended it, and what it wrote."""

    status: int
    out: str
    err: str


class Children:
    """Runs commands, each in a child of its own that starts from the same state of the interpreter.

    The forking process is one of its own, since a fork of pytest's would have the traces of other tests.
    """

    def __enter__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait()

    def run(self, words, cwd, program="cli", timeout=60, alone=False, **options):
        """Run a command, see `start` and `finish`."""
        return self.finish(self.start(words, cwd, program, **options), timeout, alone)

    def start(
        self,
        words,
        cwd,
        program="cli",
        dies_at=None,
        file_size=None,
        is_root=True,
        environment=None,
        settings=None,
        hidden=None,
        stops=False,
        terminal=None,
    ):
        """Start `cli.py words`, or another program, in a folder; returns the number of the process.

        Args:
            words: Of the command line.
            cwd: The folder.
            program: A command of `cli.py` as "sweep", or a module that lies in the folder.
            dies_at: Where the process dies, and at which time that it comes by there: "os.replace", between a file and
                its name; "last.ckpt", with half of that checkpoint written, to whatever file it is.
            file_size: No file may become longer, in bytes.
            is_root: Else the modes of files and folders are followed.
            environment: Variables that it has besides.
            settings: Values of constants of the project, by their dotted names.
            hidden: A folder that it cannot read, as one of another machine.
            stops: Whether it stands still in its first evaluation.
            terminal: To which it writes.
        """
        module = None if program in ("cli", *COMMANDS) else program
        words = [*([program] if program in COMMANDS else []), *map(str, words)]
        request = {"words": words, "cwd": str(cwd), "module": module, "dies_at": dies_at}
        request |= {"file_size": file_size, "is_root": is_root}
        request |= {"hidden": hidden and str(hidden), "stops": stops, "terminal": terminal}
        return self._ask(request | {"environment": environment or {}, "settings": settings or {}})

    def run_two(self, words, cwd, program="cli", timeout=300):
        """Run the two processes of a run on two devices, as Lightning's launcher starts them; returns both."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0", "WORLD_SIZE": "2"}
        started = [self.start(words, cwd, program, environment=place | {"LOCAL_RANK": rank}) for rank in "01"]
        return [self.finish(child, timeout) for child in started]

    def finish(self, child, timeout=60, alone=False):
        """Wait for a process that was started, and say what came of it.

        Args:
            child: Its number.
            timeout: After which it is killed, in seconds.
            alone: Whether the processes that it has started are left when it is killed.
        """
        return Finished(**self._ask({"child": child, "timeout": timeout, "alone": alone}))

    def _ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve():
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from lightning_tasks.cli.main import main  # noqa: F401  # with all that it imports
    from lightning_tasks.cli.parser import task_parser
    from lightning_tasks.runs.identity import read_command

    for config in ("mnist_by_hand", "dfad_plus_digits"):  # whose classes the parser keeps
        read_command(task_parser(), ["fit", f"--config={ROOT}/configs/{config}.yaml"])
    gc.collect()
    gc.freeze()  # else each child's collector would copy the whole memory

    outputs = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "words" in request:
            out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # closed when it has ended
            child = os.fork()
            if child == 0:
                os.setsid()
                terminal = request["terminal"] and os.open(request["terminal"], os.O_RDWR)
                os.dup2(terminal or out.fileno(), 1)
                os.dup2(terminal or err.fileno(), 2)
                os._exit(_run(request))
            outputs[child] = out, err
            print(child, flush=True)
            continue
        status = _wait(request["child"], request["timeout"], request["alone"])
        texts = []
        for file in outputs.pop(request["child"]):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        print(json.dumps({"status": status, "out": texts[0], "err": texts[1]}), flush=True)


def _limit(request):
    if request["file_size"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write fails instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"],) * 2)
    if not request["is_root"] and os.geteuid() == 0:
        version, none = ctypes.c_uint32 * 2, (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version(0x20080522), none) == 0


def _run(request):
    _limit(request)
    os.chdir(request["cwd"])
    os.environ |= request["environment"]
    rank_zero_only.rank = int(os.environ.get("LOCAL_RANK", 0))  # as found when Lightning is imported
    for name, value in request["settings"].items():
        module, _, constant = name.rpartition(".")
        setattr(sys.modules[module], constant, value)
    if request["stops"]:
        from lightning_tasks.callbacks import RunCard

        stop = lambda *_: os.kill(os.getpid(), signal.SIGSTOP)  # noqa: E731
        RunCard.on_validation_batch_start = RunCard.on_test_batch_start = stop
    if request["hidden"]:
        _hide(request["hidden"])
    if request["dies_at"]:
        _die_at(*request["dies_at"])
    sys.argv = ["cli.py", *request["words"]]
    try:
        if request["module"]:
            sys.path.insert(0, request["cwd"])  # as `python -m` does
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        else:
            from lightning_tasks.cli import command

            command()
        code = 0
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):  # what the interpreter does with it
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


def _hide(folder):
    """Let a folder look as if it were not there, to those who ask and to those who open."""
    stat = os.stat

    def look(event, about):
        if event in ("open", "os.stat") and str(about[0]).startswith(folder):
            raise FileNotFoundError(f"hidden: {about[0]}")

    def hidden_stat(path, *args, **options):
        look("os.stat", [path])
        return stat(path, *args, **options)

    sys.addaudithook(look)
    os.stat = hidden_stat


def _die_at(place, times):
    """Let the process die when it comes by a function for the n-th time."""
    if place == "last.ckpt":
        place = "lightning_tasks.runs.checkpoints:AtomicCheckpointIO.save_checkpoint"
    owner, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(owner)
    function = getattr(owner, name)
    left = times

    def deadly(*args, **kwargs):
        nonlocal left
        checkpoint = args[1:3] if name == "save_checkpoint" else None
        left -= checkpoint is None or str(checkpoint[1]).endswith("last.ckpt")
        if left == 0 and checkpoint:  # the system ends it once a file is longer
            whole = io.BytesIO()
            torch.save(checkpoint[0], whole)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole.getvalue()) // 2, resource.RLIM_INFINITY))
        elif left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, deadly)


def _wait(child, timeout, alone):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    (os.kill if alone else os.killpg)(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    _serve()
