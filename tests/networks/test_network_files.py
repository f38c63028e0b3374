"""Whole networks in a file: TorchScript, torch.export, ONNX and pickled modules."""

from pathlib import Path

import pytest
import torch
from helpers.commands import (
    TINY_DATA,
    TINY_DFAD,
    TINY_TRAINER,
    refusal,
    refused,
    run_card,
    run_cli,
)
from torch import nn

from lightning_tasks.networks import NetworkFile
from lightning_tasks.runs.checkpoints import file_hash

SHAPE = (1, 16, 16)


class Makes(nn.Module):
    """Makes tensors on the way, and has a constant that is no buffer."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 10)
        self.steps = torch.arange(4.0)

    def forward(self, x):
        y = self.conv(x).relu().mean((2, 3))
        made = torch.zeros(4) + torch.ones(4, device=x.device) + torch.tensor([1.0, 2.0, 3.0, 4.0]) + self.steps
        return self.fc(y + made.to(x.device))


def saved(folder, kind, network):
    """A whole network in a file, for batches of any size."""
    x = torch.randn(3, *SHAPE)
    path = folder / f"net.{kind}"
    if kind == "pt":
        torch.jit.script(network).save(path)
    elif kind == "pt2":
        torch.export.save(torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},)), path)
    else:
        torch.onnx.export(
            network, (x,), path, opset_version=13, dynamo=False, dynamic_axes={"x": {0: "b"}}, input_names=["x"]
        )
    return path


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore::DeprecationWarning")
class TestFiles:
    @pytest.mark.parametrize("kind", ["pt", "pt2", "onnx"])
    def test_gives_what_it_gave_and_lets_gradients_through(self, nets, tmp_path, kind):
        network = nets.Small(4, 10, 1).eval()
        if kind == "onnx":
            network = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 10)
            ).eval()
        file = NetworkFile(10, SHAPE, str(saved(tmp_path, kind, network)))
        file.train().eval()
        x = torch.randn(5, *SHAPE, requires_grad=True)
        torch.testing.assert_close(file(x), network(x))
        file(x).square().sum().backward()
        ours = x.grad.clone()
        x.grad = None
        network(x).square().sum().backward()
        torch.testing.assert_close(ours, x.grad)
        assert file.inner is not file

    @pytest.mark.slow
    def test_a_teacher_in_a_file_needs_no_weights(self, nets, tmp_path):
        path = saved(tmp_path, "pt2", nets.Small(4, 10, 1).eval())
        words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=null"]
        teacher = f"{{class_path: NetworkFile, init_args: {{path: {path}}}}}"
        words = [word for word in words if not word.startswith("--model.teacher.")]
        run_cli("fit", *words, f"--model.teacher={teacher}")
        card = run_card("dfad")
        assert card["parameters"]["teacher"] == 4 * 9 + 4 + 8 + 50
        run_cli("fit", *words, f"--model.teacher={teacher}")
        assert run_card("dfad", 1)["teacher_sha256"] == card["teacher_sha256"] == file_hash(path)
        words[words.index("--trainer.max_epochs=1")] = "--trainer.max_epochs=2"
        run_cli("fit", *words, f"--model.teacher={teacher}", "--ckpt_path=last")
        assert run_card("dfad", 1)["epochs"] == 2
        run_cli("test", *words, f"--model.teacher={teacher}", "--ckpt_path=last")
        line = refusal(tmp_path, "fit", *words, "--model.teacher=ResNet", "--model.teacher.depth=10")
        assert "teacher_ckpt: null leaves ResNet with random weights; name some" in line

    @pytest.mark.slow
    def test_frozen_torchscript(self, nets, tmp_path):
        network = nets.Small(4, 10, 1).eval()
        torch.jit.freeze(torch.jit.script(network)).save(tmp_path / "a.pt")
        file = NetworkFile(10, SHAPE, str(tmp_path / "a.pt"))
        x = torch.randn(5, *SHAPE)
        torch.testing.assert_close(file(x), network(x))
        words = [*TINY_DFAD, *TINY_DATA, *TINY_TRAINER, "--trainer.max_epochs=1", "--model.teacher_ckpt=null"]
        words = [word for word in words if not word.startswith("--model.teacher.")]
        words.append(f"--model.teacher={{class_path: NetworkFile, init_args: {{path: {tmp_path / 'a.pt'}}}}}")
        run_cli("fit", *words)
        assert run_card("dfad")["teacher_sha256"] == file_hash(tmp_path / "a.pt")
        line = refused(tmp_path, "fit", *words, "--model.student_share=0.5")
        assert "student_share: the teacher has no parameters that could be counted" in line

    def test_a_graph_moves_with_what_it_makes_on_the_way(self, tmp_path):
        """To "meta", a device of shapes only, which refuses tensors of the CPU as a GPU does."""
        network = Makes().eval()
        file = NetworkFile(10, SHAPE, str(saved(tmp_path, "pt2", network))).eval()
        weights = list(file.state_dict())
        x = torch.randn(5, *SHAPE)
        torch.testing.assert_close(file(x), network(x))
        assert file.to("meta")(x.to("meta")).device.type == "meta"
        assert list(file.state_dict()) == weights == [f"module.{name}" for name in network.state_dict()]

    def test_frozen_torchscript_is_read_anew_where_it_is_to_compute(self, nets, tmp_path, monkeypatch):
        """On "meta", where TorchScript cannot be read, what was read on the CPU is refused."""
        path = tmp_path / "a.pt"
        torch.jit.freeze(torch.jit.script(nets.Small(4, 10, 1).eval())).save(path)
        file = NetworkFile(10, SHAPE, str(path)).eval()
        devices, load = [], torch.jit.load
        monkeypatch.setattr(torch.jit, "load", lambda path, map_location: devices.append(map_location) or load(path))
        with pytest.raises(ValueError, match=f"{path} cannot compute on meta in torch.float32"):
            file.to("meta")
        assert devices == [torch.device("meta")]

    @pytest.mark.parametrize("kind", ["pt", "pt2", "frozen"])
    def test_a_precision_that_it_cannot_keep_is_refused_when_it_is_asked_for(self, nets, tmp_path, kind):
        network = Makes().eval() if kind == "pt2" else nets.Small(4, 10, 1).eval()
        path = saved(tmp_path, kind.replace("frozen", "pt"), network)
        if kind == "frozen":
            torch.jit.freeze(torch.jit.script(network)).save(path)
        task = nn.Sequential(NetworkFile(10, SHAPE, str(path)))
        if kind == "pt":
            assert task.bfloat16()(torch.zeros(1, *SHAPE).bfloat16()).dtype == torch.bfloat16
        else:
            with pytest.raises(ValueError, match=f"{path} cannot compute on cpu in torch.bfloat16"):
                task.bfloat16()

    def test_files_that_are_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"path: no file a.pt2 with a network"):
            NetworkFile(10, SHAPE, "a.pt2")
        for name in ("a.pt2", "a.onnx", "a.pt"):
            Path(name).write_text("no")
            with pytest.raises(ValueError, match=f"path: {name} is no network of TorchScript, torch.export or ONNX"):
                NetworkFile(10, SHAPE, name)

    def test_of_other_images(self, nets, tmp_path):
        path = saved(tmp_path, "pt2", nets.Small(4, 10, 1).eval())
        with pytest.raises(ValueError, match=r"cannot take images \(2, 3, 16, 16\)"):
            NetworkFile(10, (3, 16, 16), str(path))
