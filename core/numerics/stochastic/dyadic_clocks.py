"""Clocks of samples whose steps are the intervals of binary trees."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from integrand.core.numerics.stepping.sample_clocks import Aim, Flags, Floats, SampleClocks
from integrand.core.numerics.stepping.step_control import StepControl


class DyadicAim(NamedTuple):
    """The steps that samples try, and where their halves meet.

    Attributes:
        aim: the steps.
        middle: the clock there.
        part: what part they are of the way between two outputs.
    """

    aim: Aim
    middle: Floats
    part: Floats


@dataclass
class DyadicClocks(SampleClocks):
    """Where each of A samples is in the binary tree of the interval between two outputs.

    A step covers [k, k + 1] / 2^n of the interval for some whole k and n: halved, it is two steps of the same tree, and
    however steps are refused and tried again, the sample comes to stand at every time that it ever aimed at, and at
    the middle of every step it takes.

    Attributes:
        origin: time of the output behind.
        share: the part of the way from there to ``upcoming`` that is done; a whole number of 2^-52.
    """

    origin: Floats
    share: Floats

    @classmethod
    def begin(cls, clock_BT: Floats, first_step: float | None, part: float) -> "DyadicClocks":
        """Set the clocks to the first of the output times, (B, T), and the first step, by default a part of the way."""
        clocks = SampleClocks.start(clock_BT, events=0)
        way = np.abs(clocks.goal - clocks.at)
        clocks.length = part * way if first_step is None else np.full_like(way, first_step)
        return cls(**vars(clocks), origin=clocks.at, share=np.zeros_like(way))

    def choose(self, control: StepControl) -> DyadicAim:
        """Choose the longest steps of the tree that begin here and are no longer than wanted."""
        way = self.upcoming - self.origin
        wanted = np.minimum(self.length, control.max_step)
        part = np.minimum(_power_of_two(wanted / np.abs(way)), _alignment(self.share))
        ahead = self.share + part
        end = np.where(ahead == 1, self.upcoming, self.origin + ahead * way)
        middle = self.origin + (self.share + part / 2) * way
        return DyadicAim(Aim(part * np.abs(way), wanted, end, self.at, end - self.at), middle, part)

    def move(self, chosen: DyadicAim, good: Flags) -> None:
        """Move the clocks of good steps to their ends; at an output the next tree begins."""
        self.accept(chosen.aim, good)
        self.share = np.where(good, self.share + chosen.part, self.share)
        arrived = self.share == 1
        self.origin = np.where(arrived, self.at, self.origin)
        self.share = np.where(arrived, 0.0, self.share)


def _power_of_two(x: Floats) -> Floats:
    """Return the greatest power of two that is not above x, nor above 1."""
    _, exponent = np.frexp(x)
    return np.ldexp(1.0, np.minimum(exponent - 1, 0))


def _alignment(share: Floats) -> Floats:
    """Return the longest interval of the tree that begins at a share of the whole: its lowest bit."""
    number = np.ldexp(share, 53).astype(np.int64)
    return np.where(number == 0, 1.0, np.ldexp((number & -number).astype(np.float64), -53))
