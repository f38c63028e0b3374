"""Two GPUs: each system with `--trainer.devices 2` and nothing else, and with `sync_batchnorm`."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from helpers.systems import SYSTEMS

pytestmark = [
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs"),
    pytest.mark.ddp,
]


@pytest.fixture(scope="module")
def outcomes(system_data, tmp_path_factory, pytestconfig):
    """What each of two processes says of each test of two_devices.py: pytest starts itself again."""
    folder = system_data.lay_out(tmp_path_factory.mktemp("two") / "run")
    asked = pytestconfig.invocation_params
    is_worker = hasattr(pytestconfig, "workerinput")  # of pytest-xdist, which has a command line of its own
    again = [sys.executable, "-m", "pytest"] if is_worker else sys.orig_argv[: -len(asked.args) or None]
    script = Path(__file__).with_name("two_devices.py")
    processes = [
        subprocess.Popen(
            [
                *again,
                "-p",
                "no:cacheprovider",
                "--tb=short",
                f"--basetemp={folder}/{rank}",
                f"--junitxml={folder}/{rank}.xml",
                script,
            ],
            cwd=asked.dir,
            env=os.environ | {"LOCAL_RANK": str(rank), "SYSTEMS_FOLDER": str(folder)},
        )
        for rank in (0, 1)
    ]
    for each in processes:
        each.wait()
    return [
        {
            case.get("name"): [each.text for each in case if each.tag in ("failure", "error")]
            for case in tree.iter("testcase")
        }
        for tree in (ElementTree.parse(folder / f"{rank}.xml") for rank in (0, 1))
    ]


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("sync_batchnorm", ["false", "true"])
def test_fit(name, sync_batchnorm, outcomes):
    for each in outcomes:
        assert not each[f"test_fit[{sync_batchnorm}-{name}]"]
