"""Files that would run code: how each is made, and the commands that read it."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import TINY_DATA, TINY_DFAD, TINY_TEACHER, TINY_TRAINER

MARK = "RAN"
RUN = Path("logs/teacher/version_0")
CONFIG = f"--config={RUN / 'config.yaml'}"
BEST, LAST = RUN / "checkpoints/best.ckpt", RUN / "checkpoints/last.ckpt"
FIT = ["fit", *TINY_TEACHER, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
DFAD = ["fit", *TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1"]
COMPARED = ["test", CONFIG, f"--ckpt_path={BEST}", "--plots=true", "--trainer.callbacks=ChangesPlot"]
IMAGES = ["fit", *TINY_TEACHER, *TINY_TRAINER, "--trainer.max_epochs=1", "--data.root=data"]
SKETCHES = ["fit", "--model=SketchTask", "--data=QuickDrawDataModule", "--data.words=[cat]", *TINY_TRAINER]
EVIL = f"import os\nos.mkdir({MARK!r})\nclass Network: ...\ndef network(**options): ...\n"
YAML = f"!!python/object/apply:os.mkdir [{MARK}]"


class Runs:
    def __reduce__(self):
        return os.mkdir, (MARK,)


class OnCall(torch.nn.Module):
    def forward(self, x):
        torch.save(x, "RAN")
        return x.flatten(1)[:, :10]


class OnLoad(torch.nn.Module):
    @torch.jit.export
    def __getstate__(self):
        return self.training

    @torch.jit.export
    def __setstate__(self, training: bool):
        self.training = training
        torch.save(training, "RAN")

    def forward(self, x):
        return x.flatten(1)[:, :10]


class Plain(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * 2


# Contents of checkpoints; each takes the file and a good checkpoint.


def pickled(path, good, protocol=2):
    path.write_bytes(pickle.dumps({"state_dict": Runs()}, protocol))


def pickled_as_text(path, good):
    pickled(path, good, 0)


def saved(path, good, **options):
    torch.save(good | {"callbacks": {"picture": Runs()}}, path, **options)


def saved_long_ago(path, good):
    saved(path, good, _use_new_zipfile_serialization=False)


def archived(path, good):
    """The format of the first PyTorch."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Runs(), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def scripted(path, good, network=OnLoad):
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.script(network()).save(path)


def scripted_on_call(path, good):
    scripted(path, good, OnCall)


def naming(network):
    def make(path, good):
        torch.save(good | {"hyper_parameters": good["hyper_parameters"] | {"network": network}}, path)

    return make


def built_by(builder):
    def make(path, good):
        torch.save(good | {"hyper_parameters": good["hyper_parameters"] | {"_instantiator": builder}}, path)

    return make


HUB = {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": ".", "model": "network", "source": "local"}}
CHECKPOINTS = {
    "pickle": pickled,
    "pickle as text": pickled_as_text,
    "torch.save": saved,
    "torch.save of old": saved_long_ago,
    "tar": archived,
    "TorchScript": scripted,
    "class of a module here": naming({"class_path": "evil.Network"}),
    "builder of a module here": built_by("evil.network"),
    "function": naming({"class_path": "os.mkdir", "init_args": {"path": MARK}}),
    "function in a text": naming(f"{{class_path: os.mkdir, init_args: {{path: {MARK}}}}}"),
    "function in an escaped text": naming(f'{{"class_path": "\\x6fs.mkdir", "init_args": {{"path": "{MARK}"}}}}'),
    "class of a module here in quotes": naming('"\\x65vil.Network"'),
    "command": naming({"class_path": "subprocess.getoutput", "init_args": {"cmd": f"mkdir {MARK}"}}),
    "module by torch.hub": naming(HUB),
}
WEIGHTS = {name: CHECKPOINTS[name] for name in ("pickle", "torch.save", "torch.save of old", "tar", "TorchScript")}
FEW = {name: CHECKPOINTS[name] for name in ("torch.save", "class of a module here", "function")}


# Contents of other files.


def huge_header(path, good):
    path.write_bytes(struct.pack("<Q", 2**62) + b'{"__metadata__": {}}')


def exported(change):
    def make(path, good):
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(Plain(), (torch.rand(2, 1, 16, 16),), dynamic_shapes=(batch,))
        torch.export.save(program, path)
        with zipfile.ZipFile(path) as archive:
            contents = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        change(contents, path.stem)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)

    return make


def pickled_weights(contents, root):
    meta = {"path_name": "weight_0", "is_param": True, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"weight": meta}})
    contents[f"{root}/data/weights/model_weights_config.json"] = config.encode()
    file = io.BytesIO()
    torch.save(Runs(), file)
    contents[f"{root}/data/weights/weight_0"] = file.getvalue()


def pickled_object(contents, root):
    meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"constant": meta}})
    contents[f"{root}/data/constants/model_constants_config.json"] = config.encode()
    contents[f"{root}/data/constants/opaque_obj_0"] = pickle.dumps(Runs())


def pickled_inputs(contents, root):
    file = io.BytesIO()
    torch.save(Runs(), file)
    contents[f"{root}/data/sample_inputs/model.pt"] = file.getvalue()


def replacing(old, new):
    def change(contents, root):
        assert old in contents[f"{root}/models/model.json"]
        contents[f"{root}/models/model.json"] = contents[f"{root}/models/model.json"].replace(old, new)

    return change


def calling_python(contents, root):
    name = f"{root}/models/model.json"
    program = json.loads(contents[name])
    node = program["graph_module"]["graph"]["nodes"][-1]
    node["target"] = "torch.os.mkdir"
    node["inputs"] = [{"name": "", "arg": {"as_string": MARK}, "kind": 1}]
    contents[name] = json.dumps(program).encode()


calling_python_in_a_graph = exported(calling_python)
SIZE = b"Symbol('s77', positive=True, integer=True)"
MKDIR = b"eval(" + b"+".join(b"chr(%d)" % letter for letter in f"__import__('os').mkdir('{MARK}')".encode()) + b")"


def array_of_objects(path, good):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array([Runs()], object), allow_pickle=True)


def arrays_that_are_pickles(path, good):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", pickle.dumps(Runs()))


def folder_of_objects(path, good):
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.save(path.with_name(f"{name}.npy"), np.array([Runs()], object))


def sketches(path, good):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("train", "valid", "test"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array([Runs(), Runs()], object), allow_pickle=True)


def cifar(path, good):
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta", "train", "test"):
        path.with_name(name).write_bytes(pickle.dumps({"data": Runs()}))
    pickled(path, good)


def mnist(path, good):
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            path.with_name(f"{part}-{kind}-ubyte").write_bytes(pickle.dumps(Runs()))


def old_mnist(path, good):
    """What torchvision read before 2021, beside files in the format of today."""
    mnist(path, good)
    processed = path.parents[1] / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(Runs(), processed / name)


def zip_slip(path, good):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../../{MARK}/file", "")
        archive.writestr(f"tiny-imagenet-200/../../../{MARK}/file", "")


def text(content):
    def make(path, good):
        path.write_text(content)

    return make


# Program, words, the file, what is in it.
CASES = [
    *(("cli", [command, CONFIG, "--ckpt_path=hostile.ckpt"], "hostile.ckpt", kind, make)
      for command, kinds in (("fit", CHECKPOINTS), ("test", CHECKPOINTS), ("validate", FEW), ("predict", FEW))
      for kind, make in kinds.items()),
    *(("cli", ["test", CONFIG, "--ckpt_path=last"], LAST, *each) for each in FEW.items()),
    *(("cli", ["fit", CONFIG, "--trainer.max_epochs=9", "--ckpt_path=last"], LAST, *each) for each in FEW.items()),
    *(("cli", [*DFAD, "--model.teacher_ckpt=logs/teacher"], BEST, *each) for each in WEIGHTS.items()),
    *(("cli", [*words, f"{option}=a.pth"], "a.pth", "torch.save", saved)
      for words, option in (
          (DFAD, "--model.teacher_ckpt"),
          (FIT, "--model.network_ckpt"),
          (FIT, "--data.preprocessing_of"),
          (COMPARED, "--trainer.callbacks.control"),
      )),
    *((program, [f"--ckpt={source}"], file, *each)
      for program in ("export", "live")
      for source, file in (("hostile.ckpt", "hostile.ckpt"), ("logs/teacher", BEST))
      for each in FEW.items()),
    ("cli", [*DFAD, "--model.teacher_ckpt=a.safetensors"], "a.safetensors", "huge header", huge_header),
    ("cli", [*DFAD, "--model.teacher_ckpt=a.safetensors"], "a.safetensors", "pickle", pickled),
    ("cli", [*FIT, "--model.network_ckpt=ResNet18_Weights.IMAGENET1K_V1"],
     "torch_home/hub/checkpoints/resnet18-f37072fd.pth", "torch.save", saved),
    *(("cli", [*FIT, "--model.network=NetworkFile", f"--model.network.path={file}"], file, kind, make)
      for file, kind, make in (
          ("a.pt", "pickle", pickled),
          ("a.pt", "torch.save", saved),
          ("a.pt", "TorchScript, when it is read", scripted),
          ("a.pt", "TorchScript, when it is asked", scripted_on_call),
          ("a.onnx", "pickle", pickled),
          ("a.pt2", "pickle", pickled),
          ("a.pt2", "pickle in the weights", exported(pickled_weights)),
          ("a.pt2", "pickle in the constants", exported(pickled_object)),
          ("a.pt2", "pickle in the inputs", exported(pickled_inputs)),
          ("a.pt2", "a function of Python", calling_python_in_a_graph),
          ("a.pt2", "a size that is a program", exported(replacing(SIZE, MKDIR))),
      )),
    *(("cli", [*IMAGES, "--data=ImageArraysDataModule", f"--data.path={place}"], file, kind, make)
      for place, file, kind, make in (
          ("a.npz", "a.npz", "pickle", pickled),
          ("a.npz", "a.npz", "objects", array_of_objects),
          ("a.npz", "a.npz", "pickles in the place of arrays", arrays_that_are_pickles),
          ("a.npy", "a.npy", "pickle", pickled),
          ("arrays", "arrays/x_train.npy", "objects", folder_of_objects),
      )),
    *(("cli", [*IMAGES, f"--data={name}DataModule"], file, "pickle", make)
      for name, file, make in (
          ("CIFAR10", "data/cifar-10-batches-py/data_batch_1", cifar),
          ("CIFAR100", "data/cifar-100-python/train", cifar),
          ("CIFAR10", "data/cifar-10-python.tar.gz", archived),
          ("MNIST", "data/MNIST/raw/train-images-idx3-ubyte", mnist),
          ("MNIST", "data/MNIST/raw/train-images-idx3-ubyte", old_mnist),
          ("TinyImageNet", "data/tiny-imagenet-200.zip", zip_slip),
          ("TinyImageNet", "data/tiny-imagenet-200.zip", pickled),
      )),
    ("cli", [*SKETCHES, "--data.root=data"], "data/quickdraw/cat.npz", "objects", sketches),
    ("cli", [*SKETCHES, "--data.root=data"], "data/quickdraw/cat.npz", "pickle", pickled),
    ("cli", ["fit", "--config=a.yaml"], "a.yaml", "YAML", text(f"model: {YAML}")),
    ("cli", ["fit", "--config=a.yaml"], "a.yaml", "YAML", text(f"{YAML}")),
    ("cli", [*FIT, "--trainer=a.yaml"], "a.yaml", "YAML", text(f"max_epochs: {YAML}")),
    ("cli", [*FIT, "--data=CIFAR100DataModule", "--data.groups=a.yaml"], "a.yaml", "YAML", text(f"- {YAML}")),
    ("cli", ["test", *FIT[1:], "--experiment=teacher", "--ckpt_path=last"], RUN / "config.yaml", "YAML",
     text(f"model: {YAML}")),
    ("cli", ["test", *FIT[1:], "--experiment=teacher", "--ckpt_path=last"], RUN / "config.yaml", "a module here",
     text("model: {class_path: evil.Network}")),
    ("export", ["--ckpt=logs/teacher"], RUN / "config.yaml", "YAML", text(f"model: {YAML}")),
    ("sweep", ["a.yaml"], "a.yaml", "YAML", text(f"config: {YAML}\naxes: {{a: {{b: {{}}}}}}")),
    ("sweep", ["a.yaml"], "a.yaml", "YAML", text(f"config: evil.py\naxes: {YAML}")),
    ("cli", [*DFAD, "--model.teacher_ckpt=logs/teacher"], RUN / "run.json", "YAML", text(YAML)),
    ("cli", [*DFAD, "--model.teacher_ckpt=logs/teacher"], RUN / "run.json", "list", text("[1]")),
    *(("compare", ["a.json", str(RUN)], "a.json", kind, make) for kind, make in (
        ("YAML", text(YAML)),
        ("list", text("[1]")),
        ("pickle", pickled),
        ("nothing", text("{}")),
        ("words", text('{"configuration": "words", "config_hash": "a", "metrics": {}}')),
        ("a module here", text('{"configuration": {"model": {"class_path": "evil.Network"}}}')),
    )),
]  # fmt: skip
