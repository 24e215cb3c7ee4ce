"""Normal numbers that are a function of their place: no state, no order, the same on every device.

A generator with a state gives the n-th number only after those before it, so that a number depends on how many samples
stand in front. Here each is computed from (seed, channel, node) alone by a hash of 64 bits, and any of them, in any
order and number, on any device, is one batch of integer operations.

The hash is the output function of SplitMix64, s(x) = m(x + g) with g = 2^64 / golden ratio and the finaliser m of
Stafford's variant 13 (three xor-shifts, two odd multipliers), a bijection of 64 bits. The three coordinates are hashed
one into the other,

    bits(seed, channel, node) = s(s(s(seed) xor s(channel + c)) xor s(node)),

so that two streams share a number only where 64 hashed bits meet by chance, and never run along each other, as
SplitMix64 streams of one increment may. Each bit of a coordinate flips each bit of the result half of the time. Its
halves are two uniform numbers of 32 bits, hence normal numbers up to 6.7
standard deviations. It is not for cryptography.

Source: Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators; Stafford (2011), Better bit
mixing; Box and Muller (1958), A note on the generation of random normal deviates.
"""

import math

import torch
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number, as are the two multipliers
_FIRST, _SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
_CHANNELS = 0x2545F4914F6CDD1D  # parts the numbers of channels from those of nodes
_LOW = 0xFFFFFFFF


def stream_keys(seeds: Tensor, channels: int) -> Tensor:
    """Return one key for each sample and channel.

    Args:
        seeds: (B,), int64.
        channels: number of channels C.

    Returns:
        Keys, (B, C), int64.
    """
    numbers = torch.arange(channels, dtype=torch.int64, device=seeds.device)
    return _hash(_hash(seeds).unsqueeze(-1) ^ _hash(numbers + _CHANNELS))


def counter_normals(keys: Tensor, nodes: Tensor, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal numbers for each key and node.

    With the two halves u, v of the bits as numbers in (0, 1): sqrt(-2 log u) cos(2 pi v), sqrt(-2 log u) sin(2 pi v).

    Args:
        keys: from ``stream_keys``, int64.
        nodes: numbers of the draws, int64, of a shape that broadcasts with ``keys``.
        dtype: precision of the result.

    Example:
        >>> keys = stream_keys(torch.tensor([7, 8]), channels=3)
        >>> first, second = counter_normals(keys, torch.tensor(0))
        >>> alone, _ = counter_normals(stream_keys(torch.tensor([8]), channels=3), torch.tensor(0))
        >>> first.shape, torch.equal(first[1:], alone)
        (torch.Size([2, 3]), True)
    """
    bits = _hash(keys ^ _hash(nodes))
    radius = ((bits >> 32) & _LOW).to(dtype).add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = bits.bitwise_and_(_LOW).to(dtype).add_(0.5).mul_(math.tau * 2.0**-32)
    return radius * angle.cos(), radius.mul_(angle.sin_())


def _hash(x: Tensor) -> Tensor:
    """Map 64 bits to 64 bits; products wrap, and a mask makes the shift of signed numbers a logical one."""
    x = x + _GOLDEN
    x ^= (x >> 30) & (2**34 - 1)
    x *= _FIRST
    x ^= (x >> 27) & (2**37 - 1)
    x *= _SECOND
    x ^= (x >> 31) & (2**33 - 1)
    return x
