"""From a run to a folder that others can use."""

import json
import platform
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import nn

import lightning_tasks
from datamodules import BaseDataModule, ImageDataModule
from lightning_tasks import DFADTask, ImageTask
from lightning_tasks.cli.parser import task_parser
from lightning_tasks.export import predict
from lightning_tasks.export.card import card
from lightning_tasks.export.graph import Graph, write_graphs, write_int8
from lightning_tasks.export.predict import FACTS, ONNX, load
from lightning_tasks.networks import ImageNetwork, count_parameters
from lightning_tasks.runs.cards import load_card
from lightning_tasks.runs.checkpoints import find_checkpoint, read_task_checkpoint
from lightning_tasks.runs.data_spec import names_in, require_equal
from lightning_tasks.runs.errors import describe
from lightning_tasks.runs.folders import CARD, CONFIG, LAST
from lightning_tasks.runs.identity import as_saved, read_config
from lightning_tasks.runs.resume import checkpoint_of

NEEDED = ("onnx", "onnxscript", "onnxruntime")
CALIBRATION_IMAGES = 512
BATCH = 500
ONE_BY_ONE = 200  # images whose time is taken
Way = Callable[[np.ndarray], np.ndarray]  # from uint8 images (B, C, H, W) to logits (B, num_classes)


def export(source: str, folder: Path | None, averaged: bool, licence: str, command: str) -> tuple[Path, dict[str, Any]]:
    """Write a trained network in all formats, compare each with PyTorch, and write the model card.

    Args:
        source: A checkpoint, a run's or an experiment's folder (see find_checkpoint).
        folder: Output folder; None for `export/` in the run's folder.
        averaged: Take the averaged weights.
        licence: For the card.
        command: For the card.

    Returns:
        The folder, and the facts of the card.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it is none of an image task, or has no averaged weights, or a package is not installed.
    """
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise ValueError(f"export needs {', '.join(lacking)}: pip install 'lightning-tasks[export]'")
    path = find_checkpoint(source, "ckpt")
    run = path.parent.parent if path.parent.name == LAST.parent.name else None
    config = _config(run)  # first, since it imports the classes that a user's run names
    task, network = _network(path, averaged, config)
    if folder is None:
        if run is None or config is None:
            raise ValueError(f"--out: {path} is not in a run's folder; say where to write")
        folder = run / "export"
    data = _data(config, task.data_spec)
    folder.mkdir(parents=True, exist_ok=True)
    graph = Graph(network, task.num_classes, task.mean, task.std)
    facts = {
        "network": type(network).__name__,
        "dataset": task.data_spec["dataset"],
        "classes": list(names_in(task.data_spec) or (data.class_names if data else map(str, range(task.num_classes)))),
        "image_shape": list(task.image_shape),
        "mean": list(task.mean),
        "std": list(task.std),
        "parameters": count_parameters(network),
        "weights": f"{'averaged' if averaged else 'raw'} weights of {path}",
        "licence": licence,
        "trained_by": _command(run),
        "exported_by": command,
    }
    write_graphs(graph, task.image_shape, folder, facts)
    images, facts["calibrated_on"] = _calibration_images(task, data)
    write_int8(folder, images)
    (folder / FACTS).write_text(json.dumps(facts))
    facts |= _measured(graph, folder, data, task.image_shape)
    if task.as_tested(network) is not network:
        facts["compared_on"] += " without their mirror images, which the run's test_time_flip adds"
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n")
    (folder / "README.md").write_text(card(facts))
    shutil.copy(predict.__file__, folder)
    return folder, facts


def checkpoint_of_experiment(word: str, config: Path | None) -> str:
    """Find what `best` or `last` means, see runs.resume.checkpoint_of.

    Args:
        word: The word.
        config: Config file of the experiment.

    Raises:
        FileNotFoundError: If there is no run of the experiment.
        ValueError: If the config is not given, or not valid.
    """
    if config is None:
        raise ValueError(
            f"ckpt: {word} needs the experiment's --config; or name its folder, as --ckpt logs/dfad_digits"
        )
    options = read_config(task_parser(), config)
    folder = Path(options.trainer.default_root_dir or "logs", options.experiment)
    return str(checkpoint_of(word, folder, options.seed_everything, task_parser()))


def _network(path: Path, averaged: bool, config: Namespace | None) -> tuple[ImageTask, nn.Module]:
    """Build the task of a checkpoint, and choose its classifier or student."""
    trusted = as_saved(task_parser(), Namespace(subcommand="fit", fit=config)) if config else None
    kind = read_task_checkpoint(path, trusted).get("hyper_parameters", {}).get("_class_path", "")
    task_class = getattr(lightning_tasks, kind.rpartition(".")[2], None)
    if not (isinstance(task_class, type) and issubclass(task_class, ImageTask)):
        raise ValueError(
            f"ckpt: {path} is of a {kind.rpartition('.')[2] or 'task without a name'}, which is no classifier"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, about the teacher, which no checkpoint holds
        task = task_class.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    network = next(iter(task.networks.values()))
    if not isinstance(network, ImageNetwork):
        raise ValueError(f"ckpt: {path} is of a {task_class.__name__}, whose network is no PyTorch module")
    if not averaged:
        return task, network
    if task.ema is None:
        raise ValueError(f"ckpt: {path} has no averaged weights; train with --model.ema_decay, or leave --ema out")
    return task, task.ema.module


def _command(run: Path | None) -> str:
    card = load_card(run / CARD) if run else None
    return card["command"] if card else "unknown"


def _config(run: Path | None) -> Namespace | None:
    """Read the options of a run, if it has left some."""
    if run is None or not (run / CONFIG).is_file():
        return None
    return read_config(task_parser(), run / CONFIG)


def _data(config: Namespace | None, facts: Mapping[str, Any]) -> ImageDataModule | None:
    """Open the images of a run, without augmentation; None where they cannot be had, or are not those of `facts`."""
    if config is None:
        return None
    options = config.data.as_dict()
    unused = {"augment", "predict", "steps_per_epoch"} & options["init_args"].keys()
    options["init_args"] |= dict.fromkeys(unused)
    parser = ArgumentParser()
    parser.add_subclass_arguments(BaseDataModule, "data")
    try:
        data: ImageDataModule = parser.instantiate_classes(parser.parse_object({"data": options})).data
        data.prepare_data()
        data.setup("test")
        data.order_classes(names_in(facts))
        require_equal(facts, data.data_spec, "the network was trained")
    except (OSError, ValueError) as error:
        print(f"without test images: {describe(error)}")
        return None
    return data


def _calibration_images(task: ImageTask, data: ImageDataModule | None) -> tuple[np.ndarray, str]:
    """Give images (N, C, H, W) in [0, 1] as the network will see them, and say what they are."""
    if isinstance(task, DFADTask):
        return task.sample(CALIBRATION_IMAGES)[0].numpy(), f"{CALIBRATION_IMAGES} images of its generator"
    if data is not None and data.train_set is not None:
        count = min(CALIBRATION_IMAGES, len(data.train_set))
        chosen = torch.linspace(0, len(data.train_set) - 1, count).long().tolist()
        return data.train_set.__getitems__(chosen)[0].numpy().astype(np.float32) / 255, f"{count} training images"
    random = np.random.default_rng(0)
    return random.random((CALIBRATION_IMAGES, *task.image_shape), np.float32), "noise, for lack of images"


def _measured(graph: Graph, folder: Path, data: ImageDataModule | None, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Compare ways to compute the network on all test images, or on noise."""
    labels = None
    if data is not None and data.test_set is not None:
        images, labels = data.test_set.images.numpy(), data.test_set.labels.numpy()
    else:
        images = np.random.default_rng(1).integers(0, 256, (BATCH, *shape), np.uint8)
    program = torch.export.load(folder / "model.pt2").module()
    onnx = {precision: load(folder, precision, threads=1) for precision in ONNX}

    def torch_way(network: Callable[[torch.Tensor], torch.Tensor]) -> Way:
        def answer(x: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return network(torch.from_numpy(x).float().div(255)).numpy()

        return answer

    ways: dict[str, tuple[Way, str | None]] = {
        "PyTorch": (torch_way(graph), None),
        "torch.export": (torch_way(program), "model.pt2"),
        "ONNX, float32": (onnx["float32"], ONNX["float32"]),
        "ONNX, int8": (onnx["int8"], ONNX["int8"]),
    }
    rows: dict[str, dict[str, float]] = {}
    expected = np.empty(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, (way, file) in ways.items():
        logits = np.concatenate([way(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])
        row: dict[str, float] = {"images_per_second": _speed(way, images)}
        if labels is not None:
            row["accuracy"] = float((logits.argmax(axis=1) == labels).mean())
        if file is None:
            expected = logits
        else:
            row |= {"bytes": (folder / file).stat().st_size, "difference": float(np.abs(logits - expected).max())}
        rows[name] = row
    torch.set_num_threads(threads)
    what = f"{len(images):,} {'test images' if labels is not None else 'images of noise'}, {platform.machine()}"
    return {"measured": rows, "compared_on": what}


def _speed(way: Way, images: np.ndarray) -> float:
    """Give images per second, one by one: the median of their times."""
    times = []
    for index in range(ONE_BY_ONE):
        one = images[index % len(images)][None]
        start = time.perf_counter()
        way(one)
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)
