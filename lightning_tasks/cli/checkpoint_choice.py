"""Which checkpoint a command line means: `--ckpt_path` as a file, `last` or `best`."""

from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace

from lightning_tasks.runs import identity
from lightning_tasks.runs.checkpoints import read_task_checkpoint
from lightning_tasks.runs.folders import LAST, is_first_process, lock_run
from lightning_tasks.runs.paths import user_path
from lightning_tasks.runs.remedies import how_to_make
from lightning_tasks.runs.renames import renamed_checkpoint
from lightning_tasks.runs.resume import checkpoint_of, run_to_resume, runs_of

Refusal = ValueError | SystemExit


def choose_checkpoint(
    config: Namespace, configuration: identity.Configuration, parser: ArgumentParser
) -> tuple[Path | None, Refusal | None]:
    """Put the path of a checkpoint in the place of `last` and `best`, and refuse one that does not fit.

    Args:
        config: All of the command line; its `ckpt_path` is changed.
        configuration: Configuration of the run.
        parser: Parser of the command line.

    Returns:
        The run that `fit` resumes, if any; on one of several machines also why there is none, so that the others end.

    Raises:
        ValueError: If there is no such run, or its options are others.
        FileNotFoundError: If there is no such file.
    """
    subcommand = config.subcommand
    options = config[subcommand]
    folder = Path(options.trainer.default_root_dir or "logs", options.experiment)
    run, refusal = None, None
    if subcommand == "fit" and options.ckpt_path == "best":
        raise ValueError("ckpt_path: best is for test, validate and predict; fit resumes with --ckpt_path last")
    if subcommand == "fit" and options.ckpt_path == "last":
        try:
            run = run_to_resume(folder, options.seed_everything, configuration, parser)
        except (ValueError, SystemExit) as error:
            if options.trainer.num_nodes == 1:
                raise
            refusal = error  # other machines, which may have other folders, are to end too
        options.ckpt_path = str(run / LAST) if run else None
        if run and is_first_process():
            lock_run(run).release()  # held from SaveRunConfig.setup on; here nothing is written yet
    elif options.ckpt_path in ("best", "last"):
        options.ckpt_path = str(checkpoint_of(options.ckpt_path, folder, options.seed_everything, parser))
    if path := options.ckpt_path:
        if not Path(path).is_file():
            raise FileNotFoundError(f"ckpt_path: no checkpoint at {path}{how_to_make(path)}")
        read_task_checkpoint(Path(path), identity.as_saved(parser, config))
    elif subcommand != "fit":
        begun = any((run / LAST).is_file() for run, _ in runs_of(folder, options.seed_everything, parser))
        how = "; the same command with --ckpt_path best takes it" if begun else how_to_make(folder)
        raise ValueError(f"ckpt_path: {subcommand} needs a checkpoint, or best or last of the newest run{how}")
    return run, refusal


def files_alone(config: Namespace) -> None:
    """Let `predict` read no training data to answer a user's files; an old checkpoint does not name the classes.

    Args:
        config: Parsed config of `predict`; its data become those files.
    """
    options = config.data.get("init_args", {})
    if config.data.class_path.startswith("datamodules.") and options.get("predict"):
        checkpoint = torch.load(config.ckpt_path, weights_only=True, map_location="cpu", mmap=True)
        data_spec = renamed_checkpoint(checkpoint).get("data_spec", {})
        if "classes" in data_spec:
            chosen = {"data_spec": data_spec, "predict": options.predict, "eval_batch_size": options.eval_batch_size}
            config.data = Namespace(class_path="datamodules.files.FilesDataModule", init_args=Namespace(**chosen))


def files_of(config: Namespace) -> dict[str, str]:
    """Give the options of a parsed command line that name other runs, as that of the teacher."""
    name = config.get("subcommand")
    options = config[name].model.get("init_args", {}) if name else {}
    return {option: options[option] for option in identity.FILES if isinstance(options.get(option), str)}


def replace_missing_files(config: Namespace, given: dict[str, str]) -> None:
    """Put what config and command line named in the place of a checkpoint's files that have been moved since.

    Args:
        config: Parsed command line with the options of the checkpoint; is changed.
        given: Its files before it took the checkpoint's options.
    """
    for option, path in files_of(config).items():
        if given.get(option) and not user_path(path).exists():
            config[config.subcommand].model.init_args[option] = given[option]
