"""A sweep's runs have the teacher that it names now."""

from pathlib import Path

import yaml
from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER, run_card, run_cli

from lightning_tasks.sweeps import command


def sweep(teacher, words):
    given = dict(word.removeprefix("--").split("=", 1) for word in words)
    options = {name: yaml.safe_load(value) for name, value in given.items() if name != "experiment"}
    axes = {"student": {"a": {"model.student.width": 2}}}
    plan = {"config": "tiny.yaml", "seeds": [1], "options": options | {"model.teacher_ckpt": teacher}, "axes": axes}
    Path("tiny.yaml").write_text("experiment: x\n")
    Path("table.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    command.main(["table.yaml"])


def test_a_run_with_another_teacher_is_run_again(capsys):
    for version in (0, 1):
        run_cli(
            "fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", f"--seed_everything={version}"
        )
    words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--trainer.limit_test_batches=1.0"]
    repeated = []
    for teacher in ("logs/teacher/version_0", "logs/teacher/version_0", "logs/teacher/version_1"):
        capsys.readouterr()
        sweep(teacher, words)
        repeated.append("done before" in capsys.readouterr().out)
    assert repeated == [False, True, False]
    first, second = (run_card("table/a", version)["teacher_sha256"] for version in (0, 1))
    assert first != second
