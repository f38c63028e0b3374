"""Names of version 0.1 that have others now: old configs, command lines, runs and checkpoints are read by them.

To be dropped with version 1.0.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pytorch_lightning.utilities import rank_zero_warn

PLOTS = (
    *("Activation", "Agreement", "Changes", "Confusion", "Curves", "ErrorKinds", "Filters", "Generated"),
    *("MistakesBySeverity", "Predictions", "Reliability", "Selection", "Sketch", "TSNE"),
)
CLASSES = {
    "ImageBank": "MemoryBank",
    "Views": "Augmentation",
    **{f"{name}Picture": f"{name}Plot" for name in PLOTS},
}
MODULES = {"lightning_tasks.distillation_oriented": "lightning_tasks.distillation.dot"}
# Of each class, where an option is now: beside its former place, or in a part.
OPTIONS = {
    "DFADTask": {
        "adversarial_weight": "objective.adversarial_weight",
        "adversarial_where_agreed": "objective.where_agreed",
        "bank": "memory_bank",
        "facts": "data_spec",
        "feature_loss": "student_training.feature_loss",
        "generator_losses": "objective.losses",
        "generator_shift": "objective.max_shift",
        "generator_steps": "generator_training.steps",
        "l1_weight": "student_training.l1_weight",
        "meta_generator": "generator_training.meta_generator",
        "optimizer_generator": "generator_training.optimizer",
        "optimizer_student": "student_training.optimizer",
        "scheduler_generator": "generator_training.scheduler",
        "scheduler_student": "student_training.scheduler",
        "soft_loss": "student_training.soft_loss",
        "student_steps": "student_training.steps",
        "views": "augmentation",
        "warm_up_epochs": "generator_training.pretrain_epochs",
    },
    "KDTask": {"facts": "data_spec", "views": "cached_epochs"},
    **{name: {"facts": "data_spec"} for name in ("ByHandTask", "ClassificationTask", "MultiTask", "SketchTask")},
    "MemoryBank": {"mirrored": "flip", "mixed": "mix_ratio", "replaced": "eviction", "shifted": "max_shift"},
    "Augmentation": {"mirrored": "flip", "mixed": "mix_ratio", "shifted": "max_shift"},
}
AMBIGUOUS = {"soft_loss"}  # on a command line: another task has it where it was
TOP = {"pictures": "plots"}  # options beside those of task and data
NAMES_CLASSES = ("--model", "--trainer.callbacks")  # options whose values may
CHECKPOINT = {"bank": "memory_bank", "facts": "data_spec"}  # entries of a checkpoint

said: set[str] = set()  # old names that this process has warned of, each once


def _say(old: str, new: str) -> None:
    if old != new and old not in said:
        said.add(old)
        rank_zero_warn(f"{old} is {new} now; the old name will be dropped with version 1.0")


def _is_ours(name: str) -> bool:
    """Say whether a class may be of this project, by its name: a user's own has a module."""
    return "." not in name or name.startswith("lightning_tasks.")


def rename_class(name: str) -> str:
    """Give the present name of a class of this project, with or without its module; any other as it is."""
    module, dot, last = name.rpartition(".")
    if last not in CLASSES or not _is_ours(name):
        return f"{MODULES.get(module, module)}{dot}{last}"
    _say(last, CLASSES[last])
    return CLASSES[last]  # without a module, which may be another now


def rename_options(class_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Put the options of a class where they are now; those of its parts too."""
    places = OPTIONS.get(class_name.rpartition(".")[2], {}) if _is_ours(class_name) else {}
    renamed: dict[str, Any] = {}
    for name, value in options.items():
        *parts, last = places.get(name, name).split(".")
        _say(name, ".".join([*parts, last]))
        inside = renamed
        for part in parts:
            inside = inside.setdefault(part, {})
        inside[last] = _renamed(value)
    return renamed


def renamed_config(config: Any) -> Any:
    """Give a config with the present names."""
    config = _renamed(config)
    if not isinstance(config, dict) or not config.keys() & {"model", "data", "trainer", "experiment"}:
        return config
    for old in config.keys() & TOP.keys():
        _say(old, TOP[old])
    return {TOP.get(key, key): value for key, value in config.items()}


def _renamed(config: Any) -> Any:
    if isinstance(config, list):
        return [_renamed(each) for each in config]
    if not isinstance(config, dict):
        return config
    if isinstance(config.get("class_path"), str):
        name = rename_class(config["class_path"])
        renamed = {**config, "class_path": name}
        for options in ("init_args", "dict_kwargs"):
            if isinstance(config.get(options), dict):
                renamed[options] = rename_options(name, config[options])
        return renamed
    return {key: _renamed(value) for key, value in config.items()}


def renamed_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Give a checkpoint with the present names of its entries, and of the options of its task."""
    checkpoint = {CHECKPOINT.get(key, key): value for key, value in checkpoint.items()}
    if isinstance(states := checkpoint.get("callbacks"), dict):
        old = re.compile(rf"^({'|'.join(PLOTS)})Picture\b")
        checkpoint["callbacks"] = {old.sub(r"\1Plot", key): state for key, state in states.items()}
    options = checkpoint.get("hyper_parameters")
    if isinstance(options, dict) and "_class_path" in options:
        name = rename_class(options["_class_path"])
        plain = {key: value for key, value in options.items() if key not in ("_class_path", "_instantiator")}
        kept = {"_instantiator": options["_instantiator"]} if "_instantiator" in options else {}
        checkpoint["hyper_parameters"] = {"_class_path": name, **rename_options(name, plain), **kept}
    return checkpoint


def present_name(option: str) -> str | None:
    """Say where an option of DFADTask is now, if it was elsewhere."""
    return OPTIONS["DFADTask"].get(option)


def renamed_args(args: Sequence[str]) -> list[str]:
    """Give the words of a command line with the present names."""
    around = zip(["", *args], args, [*args[1:], ""], strict=False)
    return [_renamed_arg(arg, before, after) for before, arg, after in around]


def _renamed_arg(arg: str, before: str, after: str) -> str:
    if not arg.startswith("--"):
        return _renamed_value(arg) if before.startswith(NAMES_CLASSES) else arg
    option, equals, value = arg[2:].partition("=")
    head, *rest = option.split(".")
    if not rest:
        new = TOP.get(head, head)
    elif head != "model":
        new = option
    else:
        plain = [each for each in rest if each != "init_args"]
        rest = plain if plain and plain[0] in OPTIONS["DFADTask"] else rest
        is_count = (value if equals else after).isdigit()
        places = OPTIONS["KDTask"] if rest == ["views"] and is_count else OPTIONS["DFADTask"]
        part, *inside = rest[0] if rest[0] in AMBIGUOUS else places.get(rest[0], rest[0]), *rest[1:]
        kind = {"memory_bank": "MemoryBank", "augmentation": "Augmentation"}.get(part, "")
        new = ".".join([head, part, *(OPTIONS.get(kind, {}).get(each, each) for each in inside)])
    _say(option, new)
    return f"--{new}{equals}{_renamed_value(value) if arg.startswith(NAMES_CLASSES) else value}"


def _renamed_value(value: str) -> str:
    """Rename classes in a value, and options in one that is a mapping or a list."""
    if re.fullmatch(r"[\w.]+", value):
        return rename_class(value)
    if value.startswith(("{", "[")) and "class_path" in value:
        try:
            config = yaml.safe_load(value)
        except yaml.YAMLError:  # the parser says where
            return value
        new = _renamed(config)
        return value if new == config else json.dumps(new)
    return value
