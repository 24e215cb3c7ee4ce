"""A layer turned round in time reads as it does forwards on the series turned by hand, whatever the padding."""

import pytest
import torch

from integrand.core.layers import LEM, S5, LinOSS, SequenceLayer
from integrand.core.models.read_backwards import read_backwards

LAYERS = {"s5": lambda: S5(4, d_state=6), "linoss": lambda: LinOSS(4, d_state=6), "lem": lambda: LEM(4, d_state=6)}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> SequenceLayer:
    torch.manual_seed(0)
    return LAYERS[request.param]().double().eval()


@pytest.mark.parametrize("first", [0.0, 0.7])
def test_it_is_the_layer_on_the_turned_series(layer: SequenceLayer, first: float):
    """Samples of 7, 4 and 1 elements in one batch, each against itself alone; the interval before an element forwards
    is that after it backwards, and ``first`` comes before the last."""
    lengths = torch.tensor([7, 4, 1])
    x, mask = torch.randn(3, 7, 4, dtype=torch.float64), torch.arange(7) < lengths.unsqueeze(1)
    dt = (0.1 + torch.rand(3, 7, dtype=torch.float64)) * mask
    found = read_backwards(layer, x, dt, mask, first=first)
    for k, length in enumerate(lengths.tolist()):
        turned = x[k : k + 1, :length].flip(1)
        intervals = torch.tensor([[first, *dt[k, 1:length].flip(0).tolist()]], dtype=torch.float64)
        expected = layer(turned, intervals).y.flip(1)
        torch.testing.assert_close(found[k : k + 1, :length], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_layer_that_holds_its_input_for_an_interval_needs_one_of_the_last_element(first: float):
    torch.manual_seed(0)
    x = torch.randn(1, 5, 4, dtype=torch.float64, requires_grad=True)
    mask, dt = torch.tensor([[True, True, True, True, False]]), torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]).double()
    read_backwards(S5(4, d_state=6).double(), x, dt, mask, first=first)[0, 0].sum().backward()
    assert x.grad is not None
    felt = x.grad[0].abs().sum(-1) > 0
    assert felt.tolist() == [True, True, True, first > 0, False]
