"""Peers as published: GRU-D and multi-time attention, against closed forms and loops over their equations."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.apps.series.gru_d import GRUD
from integrand.apps.series.multi_time_attention import MultiTimeAttention
from integrand.core.errors import InputError

Series = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def series() -> Series:
    """Three samples of nine elements in float64, of 9, 5 and 7, the last with padding before its last element."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 5, 6])
    present = torch.arange(9) < lengths.unsqueeze(1)
    present[2, 8] = True
    times = torch.rand(3, 9, generator=generator, dtype=torch.float64).mul(5).sort().values
    for sample in range(3):
        for element in range(1, 9):
            if not present[sample, element]:
                times[sample, element] = times[sample, element - 1]
    mask = (torch.rand(3, 9, 2, generator=generator) < 0.4) & present.unsqueeze(-1)
    mask[1, :, 1] = False  # never observed
    values = torch.randn(3, 9, 2, generator=generator, dtype=torch.float64) * mask
    return values, mask, times, present


def gru_d(channels: int = 2, d_state: int = 3, *, time_scale: float = 1.0) -> GRUD:
    torch.manual_seed(0)
    model = GRUD(channels, d_state, time_scale=time_scale).double()
    with torch.no_grad():
        for parameter in model.parameters():  # rates of either sign, biases that are not zero
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def attention(*, heads: int = 2, time_scale: float = 1.0) -> MultiTimeAttention:
    torch.manual_seed(0)
    return MultiTimeAttention(2, 4, heads=heads, d_time=5, time_scale=time_scale).double()


# GRU-D


def naive_gru_d(model: GRUD, values: list, mask: list, times: list) -> list[list[float]]:
    """The published recursion for one sample without padding, number by number."""
    channels, size = model.channels, model.d_state
    weights = {name: parameter.tolist() for name, parameter in model.named_parameters()}
    h, gap, last, states = [0.0] * size, [0.0] * channels, [0.0] * channels, []

    def pre(gate: int, row: int, x: list[float], m: list[float]) -> float:
        index = gate * size + row
        w = weights["read.weight"][index]
        return weights["read.bias"][index] + sum(w[c] * x[c] + w[channels + c] * m[c] for c in range(channels))

    for step, (x_step, m_step, now) in enumerate(zip(values, mask, times, strict=True)):
        for c in range(channels):
            # delta_t = s_t - s_{t-1}, plus delta_{t-1} if the channel was missing at t - 1; 0 at the first element.
            if step:
                gap[c] = now - times[step - 1] + (0.0 if mask[step - 1][c] else gap[c])
        x = []
        for c in range(channels):
            if m_step[c]:
                last[c] = x_step[c]
            rate = weights["input_rate"][c] * gap[c] + weights["input_bias"][c]
            x.append(x_step[c] if m_step[c] else math.exp(-max(0.0, rate)) * last[c])
        m = [float(held) for held in m_step]
        for row in range(size):
            rate = sum(w * d for w, d in zip(weights["state_rate.weight"][row], gap, strict=True))
            h[row] *= math.exp(-max(0.0, rate + weights["state_rate.bias"][row]))

        def turn(matrix: list[list[float]], row: int, state: list[float]) -> float:
            return sum(a * b for a, b in zip(matrix[row], state, strict=True))

        gates = weights["gates.weight"]
        z = [1 / (1 + math.exp(-pre(0, i, x, m) - turn(gates, i, h))) for i in range(size)]
        r = [1 / (1 + math.exp(-pre(1, i, x, m) - turn(gates, size + i, h))) for i in range(size)]
        reset = [r[i] * h[i] for i in range(size)]
        c_new = [math.tanh(pre(2, i, x, m) + turn(weights["candidate.weight"], i, reset)) for i in range(size)]
        h = [(1 - z[i]) * h[i] + z[i] * c_new[i] for i in range(size)]
        states.append(list(h))
    return states


def test_gru_d_is_the_published_recursion(series: Series) -> None:
    values, mask, times, present = series
    model = gru_d()
    states = model(values, mask, times, present)
    for sample in range(3):
        there = present[sample]
        expected = naive_gru_d(model, *(x[sample][there].tolist() for x in (values, mask, times)))
        torch.testing.assert_close(
            states[sample][there], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12
        )


def test_gru_d_without_inputs_decays_in_closed_form() -> None:
    """A state that relaxes to tanh(b) at elements, and decays by exp(-time since the last observation) before them."""
    model = GRUD(1, 1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.read.bias.copy_(torch.tensor([0.0, 0.0, 0.5]))  # z = 1/2, c = tanh(1/2)
        model.state_rate.weight.fill_(1.0)
    times = torch.tensor([[1.0, 3.0, 4.0]], dtype=torch.float64)
    mask = torch.tensor([[[True], [False], [False]]])
    states = model(torch.ones(1, 3, 1).double(), mask, times, torch.ones(1, 3, dtype=torch.bool))
    half, expected = math.tanh(0.5) / 2, []
    for waited in (0.0, 2.0, 3.0):  # the last from the observation, not from the element before
        expected.append(half + math.exp(-waited) * (expected[-1] if expected else 0.0) / 2)
    torch.testing.assert_close(states.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize(("since", "share"), [(0.0, 1.0), (2.0, math.exp(-2.0)), (40.0, 0.0)])
def test_the_inputs_of_gru_d_decay_to_the_training_mean(since: float, share: float) -> None:
    model = GRUD(1, 1).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.input_rate.fill_(1.0)
        model.read.weight[2, 0] = 1.0
        model.read.bias[0] = 1e3  # z = 1: the state is the tanh of what is read
    mask = torch.tensor([[[True], [False]]])
    values, times = (
        torch.tensor([[[0.7], [0.0]]], dtype=torch.float64),
        torch.tensor([[0.0, since]], dtype=torch.float64),
    )
    read = model(values, mask, times, torch.ones(1, 2, dtype=torch.bool)).atanh().flatten()
    torch.testing.assert_close(read, torch.tensor([0.7, 0.7 * share], dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_absent_elements_leave_gru_d_at_rest(series: Series) -> None:
    values, mask, times, present = series
    model = gru_d()
    states = model(values, mask, times, present)
    for sample in range(3):
        for element in range(1, 9):
            if not present[sample, element]:
                assert torch.equal(states[sample, element], states[sample, element - 1])
    absent = ~present.unsqueeze(-1)
    spoilt = model(torch.where(absent, math.nan, values), mask | absent, times, present)
    assert torch.equal(spoilt, states)


def test_gru_d_does_not_look_ahead(series: Series) -> None:
    values, mask, times, present = series
    model = gru_d()
    states = model(values, mask, times, present)
    early = model(values[:, :4], mask[:, :4], times[:, :4], present[:, :4])
    torch.testing.assert_close(early, states[:, :4], rtol=1e-13, atol=1e-13)


# Multi-time attention


def naive_attention(model: MultiTimeAttention, values: Tensor, mask: Tensor, times: Tensor, query: float) -> Tensor:
    """y at one query time for one sample, sum by sum."""
    heads, size = model.frequency.shape

    def embed(head: int, time: float) -> Tensor:
        angle = model.frequency[head] * time + model.shift[head]
        return torch.stack([angle[i] if i == 0 else angle[i].sin() for i in range(size)])

    found = []
    for head in range(heads):
        for channel in range(values.shape[-1]):
            top, bottom = torch.zeros(()).double(), torch.zeros(()).double()
            for element in range(len(times)):
                if mask[element, channel]:
                    asked, told = embed(head, query), embed(head, float(times[element]))
                    # W and V turn rows, as in the paper, where Linear keeps their transposes.
                    alike = (asked @ model.query.weight.T) @ (told @ model.key.weight.T)
                    kernel = torch.exp(alike / math.sqrt(size))
                    top, bottom = top + kernel * values[element, channel], bottom + kernel
            found.append(top / bottom if bottom else top)
    return model.out.weight @ torch.stack(found)


def test_attention_is_the_published_sum(series: Series) -> None:
    values, mask, times, present = series
    model, queries = attention(), torch.tensor([[0.0, 2.5, 9.0]] * 3, dtype=torch.float64)
    got = model(values, mask, times, present, queries)
    for sample in range(3):
        for q in range(3):
            expected = naive_attention(model, values[sample], mask[sample], times[sample], float(queries[sample, q]))
            torch.testing.assert_close(got[sample, q], expected, rtol=1e-12, atol=1e-12)


def test_attention_that_tells_no_times_apart_is_the_mean_of_what_was_observed(series: Series) -> None:
    values, mask, times, present = series
    model = attention(heads=1)
    nn.init.zeros_(model.query.weight)
    got = model(values, mask, times, present, times[:, :2])
    means = values.sum(1) / mask.sum(1).clamp(min=1)
    torch.testing.assert_close(got, (means @ model.out.weight.T).unsqueeze(1).expand_as(got), rtol=1e-12, atol=1e-12)


def test_sharp_attention_is_the_nearest_observation() -> None:
    """phi(t) = (t, sin(pi / 2) = 1), and a score of c (2 t s - s^2), the square being of s at the two keys 0 and 1."""
    model = MultiTimeAttention(1, 1, d_time=2).double()
    with torch.no_grad():
        model.frequency.copy_(torch.tensor([[1.0, 0.0]]))
        model.shift.copy_(torch.tensor([[0.0, math.pi / 2]]))
        model.query.weight.copy_(400 * torch.tensor([[2.0, 0.0], [0.0, -1.0]]))
        model.key.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))  # s^2 = s there
        model.out.weight.fill_(1.0)
    values, times = torch.tensor([[[3.0], [5.0]]], dtype=torch.float64), torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    every = torch.ones(1, 2, dtype=torch.bool)
    queries = torch.tensor([[0.1, 0.4, 0.5, 0.6, 2.0]], dtype=torch.float64)
    got = model(values, every.unsqueeze(-1), times, every, queries)
    torch.testing.assert_close(got.flatten(), torch.tensor([3.0, 3, 4, 5, 5], dtype=torch.float64), rtol=1e-12, atol=0)


def test_attention_knows_no_order_and_no_absent_elements(series: Series) -> None:
    values, mask, times, present = series
    model, order = attention(), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    queries = times[:, ::2]
    got = model(values, mask, times, present, queries)
    shuffled = model(values[:, order], mask[:, order], times[:, order], present[:, order], queries)
    torch.testing.assert_close(shuffled, got, rtol=1e-12, atol=1e-12)
    absent = ~present.unsqueeze(-1)
    spoilt = model(torch.where(absent, math.nan, values), mask | absent, times + 3 * ~present, present, queries)
    assert torch.equal(spoilt, got)


# Both


def test_time_units_cancel(series: Series) -> None:
    values, mask, times, present = series
    minutes = gru_d(time_scale=60.0)(values, mask, 60 * times, present)
    torch.testing.assert_close(minutes, gru_d()(values, mask, times, present), rtol=1e-12, atol=1e-12)
    asked = attention(time_scale=60.0)(values, mask, 60 * times, present, 60 * times)
    torch.testing.assert_close(asked, attention()(values, mask, times, present, times), rtol=1e-12, atol=1e-12)


def test_gradients_pass_a_finite_difference_check_where_a_channel_is_never_observed(series: Series) -> None:
    values, mask, times, present = (x[1:2, :5] for x in series)
    values.requires_grad_(True)
    recurrent, attentive = gru_d(), attention()
    assert torch.autograd.gradcheck(lambda x: recurrent(x, mask, times, present), (values,))
    assert torch.autograd.gradcheck(lambda x: attentive(x, mask, times, present, times), (values,))


@pytest.mark.parametrize("options", [{"channels": 0}, {"d_state": 0}, {"time_scale": 0.0}])
def test_gru_d_names_an_option_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        GRUD(**{"channels": 1, "d_state": 1, **options})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("options", [{"channels": 0}, {"d_model": 0}, {"heads": 0}, {"d_time": 0}, {"time_scale": -1}])
def test_attention_names_an_option_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        MultiTimeAttention(**{"channels": 1, "d_model": 1, **options})  # pyright: ignore[reportArgumentType]
