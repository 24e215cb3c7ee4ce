"""``integrand explain``: every public name and every architecture of the map is told of, in any spelling."""

import subprocess
import sys

import pytest

from integrand.apps.cli import main
from integrand.apps.commands.explain import architectures
from integrand.core.correspondences import rows, subjects
from integrand.core.diffusion.samplers.registry import SAMPLERS
from integrand.core.layers import S5


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["explain", *words]) == code
    out, err = capsys.readouterr()
    assert (err == "") == (code == 0)
    return err if code else out


@pytest.mark.parametrize("words", [["S5"], ["s5"], ["s_5"]])
def test_a_layer_is_told_of_in_any_spelling(words: list[str], capsys: pytest.CaptureFixture[str]):
    out = told(capsys, *words)
    assert S5.__doc__ is not None
    assert out.startswith(f"S5: {S5.__doc__.splitlines()[0]}\n")
    (row,) = (row for row in rows() if row.name == "s5_is_the_exact_solution_of_a_linear_ode_with_held_inputs")
    for part in (row.architecture, row.equation, row.discretisation, row.follows, row.source, row.level):
        assert part in out
    assert f"{row.error:.2g}, at most 1e-12" in out
    assert "the zero-order-hold solution of a linear ODE" in out  # its place on the map


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["neural_ode"], "NeuralODE"),
        (["NeuralODE"], "NeuralODE"),
        (["neural", "ode"], "NeuralODE"),
        (["momentum residual"], "MomentumResidual"),
        (["dpmpp_2m"], "dpmpp_2m"),
        (["DPMpp-2M"], "dpmpp_2m"),
        (["port-hamiltonian"], "PortHamiltonian"),
        (["fno"], "FNO"),
    ],
)
def test_names_are_found_in_camels_snakes_and_words(words: list[str], name: str, capsys: pytest.CaptureFixture[str]):
    assert told(capsys, *words).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("word", "architecture"),
    [
        ("ResNet", "residual network (ResNet)"),
        ("residual network", "residual network (ResNet)"),
        ("gru", "GRU cell"),
        ("transformer", "transformer block, norm first"),
        ("sgd", "stochastic gradient descent (SGD)"),
    ],
)
def test_an_architecture_is_found_by_its_name_its_short_name_or_its_words(word: str, architecture: str):
    assert architecture in [row.architecture for row in architectures(word)]


def test_whatever_is_listed_can_be_explained(capsys: pytest.CaptureFixture[str]):
    out = told(capsys)
    assert set(SAMPLERS) <= {subject.name for subject in subjects()}
    for subject in subjects():
        assert subject.name in out
        assert told(capsys, subject.name).startswith(f"{subject.name}: {subject.summary}")
    for row in rows():
        assert row.architecture in out
        assert row in architectures(row.architecture)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["S6"], "error: unknown name 'S6': did you mean 'S5'? Known: "),
        (["neural_od"], "error: unknown name 'neural_od': did you mean 'NeuralODE'? Known: "),
        (["gradient", "descend"], "error: unknown name 'gradient descend': did you mean 'gradient descent'? Known: "),
        (["---"], "error: unknown option '---'"),
        (["--", "-"], "error: unknown name '-'. Known: "),
        (["s5", "--from", "a.pt2"], "error: NAME and --from exclude each other, got 's5' and a.pt2: leave one out."),
        (["--from", "gone.pt2"], "error: --from: gone.pt2 is no file: give one that torch.export.save wrote."),
        (["--form", "a.pt2"], "error: unknown option '--form': did you mean '--from'?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_cure(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    err = told(capsys, *words, code=2)
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_no_torch_is_needed():
    code = (
        "import sys\n"
        "from integrand.apps.cli import main\n"
        "main(['explain']), main(['explain', 'S5'])\n"
        "heavy = {'torch', 'numpy', 'scipy', 'lightning'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
