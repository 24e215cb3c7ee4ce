"""``integrand convert`` and what ``integrand explain --from`` says of an exported network."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from residual_networks import Dense, exported, network, settled
from safetensors.torch import load_file
from torch import nn

from integrand.apps.cli import main
from integrand.apps.conversion.conversion import Row, convert
from integrand.apps.conversion.recognition import recognise_file
from integrand.apps.conversion.request import Request
from integrand.core.analysis.exported_graph import exported_graph
from integrand.core.models import ConvertedODE


class Files:
    """A network of two outputs in a file, samples, and what it says of them."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        blocks = [Dense(4, 0.5) for _ in range(4)]
        self.network = settled(nn.Sequential(nn.Linear(3, 4), *blocks, nn.Linear(4, 2)))
        self.program, self.free = folder / "module.pt2", folder / "free.pt2"
        x = torch.randn(40, 3, dtype=torch.float64)
        torch.export.save(torch.export.export(self.network, (x[:3],)), self.program)
        shapes = ({0: torch.export.Dim.AUTO},)
        torch.export.save(torch.export.export(self.network, (x[:3],), dynamic_shapes=shapes), self.free)
        self.x = x
        self.y = self.network(x).detach()
        self.input, self.values, self.classes = (folder / f"{name}.npy" for name in ("x", "y", "classes"))
        np.save(self.input, x.numpy())
        np.save(self.values, self.y.numpy())
        np.save(self.classes, self.y.argmax(1).numpy())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("conversion"))


def report(folder: Path) -> dict:
    return json.loads((folder / "conversion.json").read_text(encoding="utf-8"))


def test_the_files_hold_the_same_network_and_the_table_its_refinement(files: Files, tmp_path: Path, capsys):
    words = [str(files.program), "--input", str(files.input), "--target", str(files.classes)]
    assert main(["convert", *words, "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "4 residual blocks of the same shape, named 1 to 4" in out
    assert "dx/dt = 0.5 f(x, theta(t)) on [0, 4]" in out
    said = report(tmp_path)
    assert said["largest_difference"] < 1e-12
    rows = [Row(**row) for row in said["rows"]]
    assert [(row.steps, row.evaluations) for row in rows] == [(1, 4), (1, 4), (2, 8), (4, 16), (8, 32)]
    assert rows[0].score == rows[1].score == 1  # the targets are what the network says
    model = ConvertedODE(files.network, [files.x[:4]])
    for row in rows[1:]:
        finer = model.refine(steps=row.steps)(files.x).detach()
        assert row.change == pytest.approx(float((finer - files.y).norm() / files.y.norm()), abs=1e-12)
        assert row.score == pytest.approx(float((finer.argmax(1) == files.y.argmax(1)).double().mean()))
    assert said["samples"] == 40
    assert said["fine_tuning"] is None
    assert (tmp_path / "refinement.png").read_bytes()[:4] == b"\x89PNG"
    assert str(tmp_path) not in (tmp_path / "conversion.json").read_text(encoding="utf-8")
    written = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.allclose(written(files.x[:3]), files.y[:3], atol=1e-12)


def test_training_further_writes_weights_that_load_and_fit_better(files: Files, tmp_path: Path, capsys):
    target = tmp_path / "other.npy"
    np.save(target, np.tanh(files.y.numpy()) + 0.5)
    words = [str(files.free), "--input", str(files.input), "--target", str(target), "--output", str(tmp_path)]
    words += ["--steps", "2", "--weights", "linear", "--epochs", "25", "--learning-rate", "0.01", "--batch-size", "8"]
    assert main(["convert", *words]) == 0
    said = report(tmp_path)
    losses = said["fine_tuning"]["losses"]
    assert len(losses) == 25
    assert losses[-1] < 0.2 * losses[0]
    scores = {row["name"]: row["score"] for row in said["rows"]}
    assert said["score"] == "rmse"
    assert scores["converted, fine-tuned"] < scores["refined"]
    assert scores["as exported, fine-tuned"] < scores["as exported"]
    assert said["samples"] == 8  # a fifth is held out
    model = ConvertedODE(torch.export.load(files.free), steps=2, weights="linear")
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    written = torch.export.load(tmp_path / "model.pt2").module()
    assert torch.allclose(written(files.x), model(files.x), atol=1e-12)
    assert not torch.allclose(model(files.x), files.y, atol=1e-2)
    assert "epoch 25 of 25: loss" in capsys.readouterr().err


class Bound(nn.Module):
    """Blocks that name the size of the batch they were written for, as a reshape to it does."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for f in self.f:
            x = x + f(x).tanh().view(3, 4)
        return x


def test_a_network_bound_to_a_size_of_batches_is_asked_in_batches_of_it(tmp_path: Path):
    bound, x = Bound().double(), torch.randn(10, 4, dtype=torch.float64)
    graph = exported_graph(torch.export.export(bound, (x[:3],)))
    np.save(tmp_path / "x.npy", x.numpy())
    said: list[str] = []
    request = Request(program=tmp_path / "x.pt2", output=tmp_path, input=tmp_path / "x.npy")
    done = convert(graph, request, said.append)
    with torch.no_grad():
        exact = torch.cat([bound(torch.cat([x, x[-1:], x[-1:]])[i : i + 3]) for i in range(0, 12, 3)])[:10]
        finer = torch.cat(
            [done.model.refine(steps=2)(torch.cat([x, x[-1:], x[-1:]])[i : i + 3]) for i in range(0, 12, 3)]
        )
    assert done.difference < 1e-12
    assert done.rows[2].change == pytest.approx(float((finer[:10] - exact).norm() / exact.norm()))
    assert said[1] == "refined: own, steps a block: 2"


def test_without_samples_it_is_measured_on_what_it_was_exported_with(tmp_path: Path, capsys):
    file = tmp_path / "shared.pt2"
    torch.export.save(exported("shared").program, file)
    assert main(["convert", str(file), "--output", str(tmp_path / "made"), "--method", "rk4", "--steps", "2"]) == 0
    said = report(tmp_path / "made")
    assert said["samples"] is None
    assert said["rows"][-1]["name"] == "by rk4"
    assert said["rows"][-1]["evaluations"] == 4 * 5 * 2
    assert said["stacks"][0]["shared_weights"]
    assert "over the inputs that it was exported with" in capsys.readouterr().out


def test_a_file_is_told_in_plain_words(files: Files):
    head, stack, *lines, change, convert = recognise_file(files.program)
    assert head == f"module.pt2: 22 operations, {sum(p.numel() for p in files.network.parameters())} parameters."
    assert stack.startswith(
        "4 residual blocks of the same shape, named 1 to 4 (linear, tanh, linear, mul, add; 76 parameters"
    )
    assert stack.endswith("forward Euler with unit step for dx/dt = 0.5 f(x, theta(t)) on [0, 4].")
    assert lines[0] == "  before: linear"
    assert lines[-1] == "  after: linear"
    assert "moves its state by" in lines[1]
    assert "weights: neighbouring blocks' differ by" in lines[2]
    assert "Two steps a block in place of one change the outputs by" in change
    assert convert == f"Convert it: integrand convert {files.program} --output converted"


def test_shared_weights_and_two_stacks_are_told_in_plain_words(tmp_path: Path):
    for name in ("shared", "convolutional"):
        torch.export.save(exported(name).program, tmp_path / f"{name}.pt2")
    assert "  weights: the same at every depth, so that the equation does not depend on t" in recognise_file(
        tmp_path / "shared.pt2"
    )
    lines = recognise_file(tmp_path / "convolutional.pt2")
    assert [line[:8] for line in lines if line.startswith("Stack")] == ["Stack 1:", "Stack 2:"]
    assert "  between: conv2d" in lines


def test_a_network_without_a_stack_and_one_in_training_are_told_so(tmp_path: Path):
    torch.export.save(
        torch.export.export(nn.Sequential(nn.Linear(3, 3), nn.Tanh()), (torch.ones(2, 3),)), tmp_path / "a.pt2"
    )
    assert recognise_file(tmp_path / "a.pt2")[1] == (
        "No residual stack: none of its operations (linear, tanh) adds to what it began with. It is read as a map, "
        "not as steps of an equation."
    )
    training = nn.Sequential(nn.Dropout(0.5), Dense(3), Dense(3)).train()
    torch.export.save(torch.export.export(training, (torch.ones(2, 3),)), tmp_path / "b.pt2")
    assert recognise_file(tmp_path / "b.pt2")[-1] == (
        "It cannot be converted as it is: the network was exported as it is in training (dropout): call its .eval() "
        "first."
    )


def test_mistakes_have_one_line(files: Files, tmp_path: Path, capsys):
    torch.save(network("dense").state_dict(), tmp_path / "state.pt2")
    (tmp_path / "text.pt2").write_text("no")
    unlike = nn.Sequential(Dense(4), nn.Linear(4, 6), Dense(6))
    torch.export.save(torch.export.export(unlike, (torch.ones(2, 4),)), tmp_path / "unlike.pt2")
    np.save(tmp_path / "wide.npy", np.ones((4, 5)))
    np.save(tmp_path / "few.npy", np.ones((4, 2)))
    np.save(tmp_path / "high.npy", np.full(40, 7))
    program, given = str(files.program), ["--input", str(files.input)]
    cases = [
        ([str(tmp_path / "none.pt2")], "no file at"),
        ([str(tmp_path / "text.pt2")], "is no .pt2 file"),
        ([str(tmp_path / "state.pt2")], "a state dict or a TorchScript file holds no operations"),
        ([str(tmp_path / "unlike.pt2")], "additions of a branch to what it began with: 2; but no two blocks"),
        (
            [program, "--input", str(tmp_path / "wide.npy")],
            "as the network was exported with, (n, 3), got shape (4, 5)",
        ),
        ([program, "--input", str(tmp_path / "text.pt2")], "is no array of numbers"),
        ([program, *given, "--target", str(tmp_path / "few.npy")], "holds 4 targets, and --input 40 samples"),
        (
            [program, *given, "--target", str(tmp_path / "high.npy")],
            "classes 7 to 7, and the network tells 0 to 1 apart",
        ),
        ([program, "--target", str(files.values)], "--target says what the network should give for --input"),
        ([program, *given, "--epochs", "3"], "--epochs trains on targets"),
        ([program, "--method", "rk5"], "unknown method 'rk5': did you mean 'rk4'?"),
        ([program, "--steps", "0"], "steps must be 1 or more"),
        ([program, "--weights", "cubic"], "unknown weights 'cubic'"),
        ([program, "--output", str(tmp_path / "text.pt2")], "is a file: name a folder"),
    ]
    for words, message in cases:
        output = [] if "--output" in words else ["--output", str(tmp_path / "made")]
        assert main(["convert", *words, *output]) == 2, words
        err = capsys.readouterr().err
        assert message in err, words
        assert err.count("\n") == 1, err
    assert not (tmp_path / "made").exists()
