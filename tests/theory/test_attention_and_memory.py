"""Attention is a system of particles or a descent of an energy; selective layers and memories are equations driven."""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from comparison import Array, apart, array, flow, held, order
from correspondence import correspondence
from scipy.special import expit, softmax
from torch import Tensor, nn

from integrand.core.layers import GatedDelta, Mamba
from integrand.core.layers.short_convolution import ShortConvolution
from integrand.core.numerics.delta_rule import gated_delta_rule
from integrand.core.numerics.selective_scan import selective_scan

DIM, TOKENS, HEADS, KEYS = 4, 5, 2, 6


def silu(x: Array) -> Array:
    return x * expit(x)


def matrix(layer: nn.Module) -> Array:
    assert isinstance(layer, nn.Linear)
    return array(layer.weight)


def filtered(convolution: ShortConvolution, u: Array) -> Array:
    """The causal convolution of each column of u (L, E), after zeros."""
    weight = array(convolution.weight)
    columns = [np.convolve(u[:, e], weight[e, ::-1])[: len(u)] for e in range(u.shape[1])]
    bias = 0 if convolution.bias is None else array(convolution.bias)
    return np.stack(columns, axis=1) + bias


class Selection:
    """What a Mamba layer makes of a sequence (L, D): inputs u, steps for each unit of time, B, C, gates and rates A."""

    def __init__(self, layer: Mamba, x: Array) -> None:
        u, gate = np.split(x @ matrix(layer.in_projection).T, 2, axis=1)
        self.u = silu(filtered(layer.convolution, u))
        parts = np.split(self.u @ matrix(layer.selection).T, [layer.dt_rank, layer.dt_rank + layer.d_state], axis=1)
        self.speed = np.logaddexp(0, parts[0] @ array(layer.step_weight).T + array(layer.step_bias))
        self.b, self.c, self.gate = parts[1], parts[2], silu(gate)
        self.a = -np.exp(array(layer.log_rate))
        self.skip, self.out = array(layer.skip), matrix(layer.out_projection)

    def solved(self, dt: Array) -> Array:
        """The layer's outputs where a general solver finds the states."""

        def field(h: Array, element: int) -> Array:
            return self.speed[element][:, None] * (self.a * h + np.outer(self.u[element], self.b[element]))

        rows = [np.full(1, element) for element in range(len(dt))]
        states = held(lambda h, row: field(h, int(row[0])), np.zeros_like(self.a), rows, dt)
        read = np.einsum("len,ln->le", states, self.c) + self.skip * self.u
        return (read * self.gate) @ self.out.T


def mamba(discretization: str, kernel_size: int = 4) -> tuple[Mamba, Array, Array]:
    torch.manual_seed(0)
    layer = Mamba(
        2,
        d_state=3,
        kernel_size=kernel_size,
        dt_min=0.1,
        dt_max=0.5,
        discretization=discretization,  # pyright: ignore[reportArgumentType]
    ).double()
    random = np.random.default_rng(0)
    return layer, 3 * random.normal(size=(8, 2)), random.exponential(size=8)


@correspondence(
    architecture="Mamba, selective state space, with held inputs",
    explains=("Mamba",),
    level="layer",
    equation="h' = Delta(u) (A h + B(u) u), y = C(u) h + D u, with coefficients and input held between elements",
    discretisation="exact, by the exponential of a diagonal matrix",
    follows="an element chooses how much time passes for it; what it weighs after a long gap stays below 1 / |A|",
    source="Gu and Dao (2023), Mamba: linear-time sequence modeling with selective state spaces, Eq. 4",
    tolerance=1e-10,
)
def test_mamba_is_the_exact_solution_of_an_ode_that_its_input_chooses() -> float:
    layer, x, dt = mamba("zoh")
    y = layer(torch.from_numpy(x)[None], torch.from_numpy(dt)[None]).y[0]
    return apart(y, Selection(layer, x).solved(dt))


@correspondence(
    architecture="Mamba as its reference program has it",
    explains=("Mamba",),
    level="layer",
    equation="h' = Delta(u) (A h + B(u) u), y = C(u) h + D u, with coefficients and input held between elements",
    discretisation="exponential in the decay, forward Euler in the input: of order 1",
    follows="Delta B is not the held input's weight but its first term: after a long gap an element weighs too much",
    source="Gu and Dao (2023), Mamba: linear-time sequence modeling with selective state spaces, Algorithm 2",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_the_reference_form_of_mamba_approaches_the_same_ode() -> float:
    layer, x, dt = mamba("euler", kernel_size=1)  # so that an element that is repeated chooses the same
    expected = Selection(layer, x).solved(dt)

    def error(pieces: int) -> float:
        fine, intervals = np.repeat(x, pieces, axis=0), np.repeat(dt / pieces, pieces)
        y = layer(torch.from_numpy(fine)[None], torch.from_numpy(intervals)[None]).y[0]
        return apart(y[pieces - 1 :: pieces], expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="gated recurrent unit whose gate sees the input alone",
    explains=("Mamba",),
    level="layer",
    equation="h' = x_l - h over the time softplus(w x_l + b)",
    discretisation="exact",
    follows="a sigmoid gate is the share of the way that a leaky integrator goes in a learned time",
    source="Gu and Dao (2023), Mamba: linear-time sequence modeling with selective state spaces, Theorem 1",
    tolerance=1e-12,
)
def test_a_sigmoid_gate_is_a_leaky_integrator_over_a_learned_time() -> float:
    torch.manual_seed(0)
    gate, x = nn.Linear(1, DIM).double(), torch.randn(8, 1, dtype=torch.float64)
    h, states = torch.zeros(DIM, dtype=torch.float64), []
    for element in x:
        h = torch.lerp(h, element.expand(DIM), torch.sigmoid(gate(element)))
        states.append(h)
    times = np.logaddexp(0, array(gate(x)))
    solved = np.zeros((len(x), DIM))
    for unit in range(DIM):
        solved[:, unit] = held(lambda h, x: x - h, np.zeros(1), x.numpy(), times[:, unit])[:, 0]
    channels = x.expand(1, len(x), DIM)  # the scan of Mamba with A = -1, B = C = 1
    ones, rates = torch.ones_like(x).unsqueeze(0), -torch.ones(DIM, 1, dtype=x.dtype)
    delta = torch.from_numpy(times)[None]
    scanned = selective_scan(channels, delta, rates, ones, ones, discretization="zoh").y[0]
    return max(apart(torch.stack(states), solved), apart(scanned, solved))


def gated_delta(x: Array, dt: Array) -> tuple[Array, Array]:
    """What the layer gives, and what gradient flow and decay give by a general solver."""
    torch.manual_seed(0)
    layer = GatedDelta(DIM, heads=HEADS, d_key=KEYS, d_value=2, dt_min=0.1, dt_max=0.5).double()
    # Keys so long that what keeps their length from being zero does not count: they have length 1 then.
    layer.qkv_projection.weight.data[: 2 * HEADS * KEYS] *= 1e4
    mixed = silu(filtered(layer.convolution, x @ matrix(layer.qkv_projection).T))
    q, k, v = (part.reshape(len(x), HEADS, -1) for part in np.split(mixed, [HEADS * KEYS, 2 * HEADS * KEYS], axis=1))
    assert min(np.linalg.norm(each, axis=-1).min() for each in (q, k)) > 100
    q, k = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (q, k))
    beta = expit(x @ matrix(layer.strength).T)
    speed = np.logaddexp(0, x @ array(layer.speed_weight).T + array(layer.speed_bias))
    rate, gate = np.exp(array(layer.log_rate)) * speed, silu(x @ matrix(layer.gate).T)
    memories, read = np.zeros((HEADS, 2, KEYS)), []
    for element, interval in enumerate(dt):
        for head in range(HEADS):
            key, value = k[element, head], v[element, head]
            faded = flow(lambda t, s, r=rate[element, head]: -r * s, memories[head], interval)
            time = -math.log1p(-beta[element, head])
            memories[head] = flow(lambda t, s, k=key, v=value: -np.outer(s @ k - v, k), faded, time)
        read.append(np.einsum("hvk,hk->hv", memories, q[element]))
    y = np.array(read)
    y = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6) * array(layer.scale)
    expected = (y.reshape(len(x), -1) * gate) @ matrix(layer.out_projection).T
    return array(layer(torch.from_numpy(x)[None], torch.from_numpy(dt)[None]).y[0]), expected


@correspondence(
    architecture="gated DeltaNet",
    explains=("GatedDelta",),
    level="layer",
    equation="S' = -(S k - v) k^T, gradient flow of |S k - v|^2 / 2, for a time -log(1 - beta); S' = -lambda S between",
    discretisation="exact: Lie-Trotter splitting at the elements, each part solved",
    follows="memory is online least squares with weight decay: a gate is a time to learn, an interval one to forget",
    source="Yang, Kautz and Hatamizadeh (2024), Gated delta networks: improving Mamba2 with delta rule, Section 3.1, "
    "for the rule; the times are ours",
    tolerance=1e-10,
)
def test_gated_delta_is_gradient_flow_on_a_regression() -> float:
    random = np.random.default_rng(0)
    return apart(*gated_delta(random.normal(size=(6, DIM)), random.exponential(size=6)))


@correspondence(
    architecture="delta rule, fast weights",
    explains=("GatedDelta",),
    level="layer",
    equation="S' = -sum_l (S k_l - v_l) k_l^T, the gradient flow of a regression on all elements at once",
    discretisation="forward Euler, one element after the other: of order 1 in the strength beta",
    follows="a memory that reads a sequence again and again approaches the least-squares fit of values on keys",
    source="Widrow and Hoff (1960), Adaptive switching circuits; Schlag, Irie and Schmidhuber (2021), Linear "
    "transformers are secretly fast weight programmers",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_the_delta_rule_read_again_and_again_is_gradient_flow() -> float:
    random = np.random.default_rng(0)
    k, v = random.normal(size=(3, DIM)), random.normal(size=(3, 2))
    k /= np.linalg.norm(k, axis=1, keepdims=True)
    expected = flow(lambda t, s: -(s @ k.T - v.T) @ k, np.zeros((2, DIM)), 1.0)

    def error(pieces: int) -> float:
        keys, values = (torch.from_numpy(np.tile(each, (pieces, 1))[None, :, None]) for each in (k, v))
        beta = torch.full(keys.shape[:3], 1 / pieces, dtype=torch.float64)
        return apart(gated_delta_rule(keys, keys, values, beta, torch.zeros_like(beta)).state[0, 0], expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="causal linear attention",
    level="layer",
    equation="S' = v(t) k(t)^T, y = S q: a linear ODE with a matrix state, inputs held over one unit of time",
    discretisation="exact",
    follows="attention without softmax has a state of constant size and runs as a recurrence",
    source="Katharopoulos, Vyas, Pappas and Fleuret (2020), Transformers are RNNs: fast autoregressive transformers "
    "with linear attention, Section 3.4",
    tolerance=1e-12,
)
def test_linear_attention_is_an_integral_of_outer_products() -> float:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, TOKENS, DIM, dtype=torch.float64)
    attended = (q @ k.T).tril() @ v
    pairs = [np.stack(pair) for pair in zip(v.numpy(), k.numpy(), strict=True)]
    memories = held(lambda s, pair: np.outer(*pair), np.zeros((DIM, DIM)), pairs, np.ones(TOKENS))
    return apart(attended, np.einsum("lvk,lk->lv", memories, q.numpy()))


def attended(y: Array, weights: Array, q: Array, k: Array, v: Array) -> Array:
    """Softmax attention of points y (N, D) to a measure that has the given weight at each, in one head."""
    scores = (y @ q.T) @ (y @ k.T).T / math.sqrt(y.shape[1]) + np.log(weights)
    return softmax(scores, axis=1) @ (y @ v.T)


@correspondence(
    architecture="self-attention with residuals, tokens as particles",
    level="model",
    equation="x' = integral exp(Q x . K y / sqrt d) V y dm(y) / integral exp(Q x . K y / sqrt d) dm(y), m moved by x",
    discretisation="forward Euler, of order 1",
    follows="tokens act through their distribution alone: repeating one is giving it weight, and there may be "
    "infinitely many",
    source="Geshkovski, Letrouit, Polyanskiy and Rigollet (2023), A mathematical perspective on "
    "transformers, Section 2",
    tolerance=0.1,
    error_of="measured order less 1, of repeated tokens beside a measure with weights",
)
def test_self_attention_moves_a_measure_of_particles() -> float:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(DIM, 1, bias=False, batch_first=True).double()
    q, k, v = np.split(array(attention.in_proj_weight), 3)
    v = matrix(attention.out_proj) @ v
    points, copies = np.random.default_rng(0).normal(size=(TOKENS, DIM)), np.array([1, 3, 2, 1, 4])
    expected = flow(lambda t, y: attended(y, copies / copies.sum(), q, k, v), points, 1.0)

    def error(pieces: int) -> float:
        x = torch.from_numpy(np.repeat(points, copies, axis=0))[None]
        with torch.no_grad():
            for _ in range(pieces):
                x = x + attention(x, x, x, need_weights=False)[0] / pieces
        return apart(x[0], np.repeat(expected, copies, axis=0))

    return abs(order(error, 32) - 1)


@correspondence(
    architecture="transformer block, norm first",
    level="model",
    equation="x_i' = a(x)_i + f(x_i): attention carries particles together, the dense network each for itself",
    discretisation="Lie-Trotter splitting, each part by forward Euler: of order 1",
    follows="the order of sublayers is a splitting scheme, and others of higher order use the same weights",
    source="Lu et al. (2020), Understanding and improving transformer from a multi-particle dynamic system point of "
    "view",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_a_transformer_block_is_a_splitting_step() -> float:
    def block(share: float) -> nn.TransformerEncoderLayer:
        torch.manual_seed(0)
        made = nn.TransformerEncoderLayer(DIM, HEADS, 7, 0.0, norm_first=True, batch_first=True).double()
        for last in (made.self_attn.out_proj, made.linear2):
            nn.init.normal_(last.bias)
            for parameter in last.parameters():
                parameter.data *= share
        return made

    whole = block(1.0)
    x = np.random.default_rng(0).normal(size=(TOKENS, DIM))
    expected = flow(transformer_field(whole), x, 1.0)

    def error(pieces: int) -> float:
        step, y = block(1 / pieces), torch.from_numpy(x)[None]
        with torch.no_grad():
            for _ in range(pieces):
                y = step(y)
        return apart(y[0], expected)

    return abs(order(error, 32) - 1)


def transformer_field(block: nn.TransformerEncoderLayer) -> Callable[[float, Array], Array]:
    """The sum of both sublayers by numpy, of tokens (N, D)."""
    inner, out = block.self_attn, block.self_attn.out_proj
    wide, bias = np.split(array(inner.in_proj_weight), 3), np.split(array(inner.in_proj_bias), 3)

    def normed(norm: nn.LayerNorm, x: Array) -> Array:
        centred = x - x.mean(1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + norm.eps)
        return scaled * array(norm.weight) + array(norm.bias)

    def affine(layer: nn.Linear, x: Array) -> Array:
        return x @ array(layer.weight).T + array(layer.bias)

    def field(t: float, x: Array) -> Array:
        y = normed(block.norm1, x)
        q, k, v = ((y @ w.T + b).reshape(len(x), HEADS, -1) for w, b in zip(wide, bias, strict=True))
        scores = softmax(np.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1]), axis=-1)
        mixed = np.einsum("hij,jhd->ihd", scores, v).reshape(x.shape)
        hidden = np.maximum(affine(block.linear1, normed(block.norm2, x)), 0)
        return affine(out, mixed) + affine(block.linear2, hidden)

    return field


@correspondence(
    architecture="attention whose values are its keys",
    level="layer",
    equation="x' = -grad E(x), E(x) = |x|^2 / 2 - log(sum_j exp(beta k_j . x)) / beta, a Hopfield network",
    discretisation="forward Euler, one step of length 1",
    follows="attention is retrieval: patterns are minima of an energy, and beta tells how many of them are told apart",
    source="Ramsauer et al. (2021), Hopfield networks is all you need, Eqs. 1 to 3",
    tolerance=1e-12,
)
def test_attention_is_a_gradient_step_on_a_hopfield_energy() -> float:
    """The slope of E by a complex step, which has no error of differencing."""
    random, beta, tiny = np.random.default_rng(0), 2.0, 1e-30
    x, keys = random.normal(size=(3, DIM)), random.normal(size=(TOKENS, DIM))

    def energy(x: Array) -> Array:
        return x @ x / 2 - np.log(np.exp(beta * keys @ x).sum()) / beta

    slope = np.array([[np.imag(energy(row + 1j * tiny * unit)) / tiny for unit in np.eye(DIM)] for row in x])
    queries, memory = torch.from_numpy(x)[None], torch.from_numpy(keys)[None]
    found: Tensor = F.scaled_dot_product_attention(queries, memory, memory, scale=beta)
    return apart(found[0], x - slope)
