"""Sun and planets, 1900 to 2050: the states of JPL's ephemeris DE421, every 16 days.

Positions and velocities of the Sun, of seven planets and of the common centre of Earth and Moon, about the barycentre
of the solar system, on the axes of the ICRF (the Earth's equator of 2000, nearly). DE421 is a numerical solution, with
relativity and asteroids, fitted to observations up to 2007. ``planets.PROVENANCE.md`` tells where the file comes from.

Source: Folkner, Williams and Boggs (2009), The planetary and lunar ephemeris DE 421, IPN Progress Report 42-178.
"""

import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.datasets.simulations import Simulations

FILE = Path(__file__).with_name("planets.csv.xz")
EPOCH = 2_415_024.5
"""Julian date (TDB) of the first row, 1900-01-05 0h; times are days since."""
STEP = 16.0
YEAR = 365.25  # days
GM = {  # AU^3 / day^2, constants GMS, GM1, GM2, GMB, GM4 to GM8 of DE421
    "sun": 2.959122082855911e-4,
    "mercury": 4.91254957186794e-11,
    "venus": 7.243452332698441e-10,
    "earth_moon": 8.997011408268049e-10,
    "mars": 9.54954869562239e-11,
    "jupiter": 2.82534584085505e-7,
    "saturn": 8.459706073308477e-8,
    "uranus": 1.29202482579265e-8,
    "neptune": 1.52435910924974e-8,
}
"""Gravitational parameter of each body."""
BODIES = tuple(GM)
_POSITION_UNIT, _VELOCITY_UNIT = 1e-9, 1e-11


def load(bodies: Sequence[str] = BODIES) -> Simulations:
    """Return one sample of 3,424 states: positions (AU) of all bodies, then velocities (AU a day), in float64.

    Channels are ``sun_x``, ``sun_y``, ``sun_z``, ``mercury_x``, ..., then ``sun_vx`` and so on. Parameters are the
    gravitational parameters ``gm_sun``, ...; a planet's momentum is its velocity times its own.

    Args:
        bodies: which, in the order wanted; the others are left out.

    Raises:
        InputError: a body that is not in the table, or none.

    Example:
        >>> sky = load(["sun", "jupiter"])
        >>> tuple(sky.values.shape), sky.channels[3], round(float(sky.times[-1] / 365.25), 2)
        ((1, 3424, 12), 'jupiter_x', 149.95)
    """
    for body in bodies:
        if body not in BODIES:
            raise unknown("body", body, BODIES)
    if not bodies:
        raise InputError(f"planets: bodies={list(bodies)} is empty: name one or more of {', '.join(BODIES)}.")
    names, orders, *rows = lzma.decompress(FILE.read_bytes()).decode("ascii").splitlines()
    table = np.array([row.split(",") for row in rows], dtype=np.int64)
    place = {name: i for i, name in enumerate(names.split(","))}
    channels = tuple(
        f"{body}_{component}" for v in ("", "v") for body in bodies for component in (f"{v}x", f"{v}y", f"{v}z")
    )
    columns = []
    for i, channel in enumerate(channels):
        column = table[:, place[channel]]
        for _ in range(int(orders.split(",")[place[channel]])):
            column = column.cumsum()
        columns.append(column * (_POSITION_UNIT if 2 * i < len(channels) else _VELOCITY_UNIT))
    return Simulations(
        name="planets",
        values=torch.from_numpy(np.stack(columns, axis=1))[None],
        times=STEP * torch.arange(len(table), dtype=torch.float64),
        channels=channels,
        parameters={f"gm_{body}": torch.tensor([GM[body]], dtype=torch.float64) for body in bodies},
        units={
            "time": "day",
            **{channel: "AU" if 2 * i < len(channels) else "AU/day" for i, channel in enumerate(channels)},
            **{f"gm_{body}": "AU^3/day^2" for body in bodies},
        },
        provenance={
            "source": "JPL DE421, through the Python package de421 2008.1",
            "epoch": f"JD {EPOCH} TDB",
            "frame": "solar-system barycentre, ICRF axes",
            "rounding": _POSITION_UNIT,
        },
    )


def energy(states: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return Newton's energy (N, T) of states (N, T, D), by the mass of the heaviest body, in AU^2 / year^2.

        E = sum_i w_i |v_i|^2 / 2 - sum_{i<j} w_i m_j / |x_i - x_j|,      w_i = m_i / max_k m_k

    with gravitational parameters m_i, (N,) each, in AU^3 / day^2.

    Relativity and asteroids make that of DE421 waver by some parts in a hundred million.

    Example:
        >>> sky = load()
        >>> found = energy(sky.values, sky.parameters)[0]
        >>> bool(((found / found[0] - 1).abs() < 1e-6).all())
        True
    """
    places, velocities, masses = _bodies(states, parameters)
    kinetic = 0.5 * (masses * velocities.square().sum(-1)).sum(-1)
    first, second = torch.triu_indices(masses.shape[-1], masses.shape[-1], 1)
    distance = (places[..., first, :] - places[..., second, :]).norm(dim=-1)
    potential = (masses[..., first] * masses[..., second] / distance).sum(-1)
    return YEAR**2 * (kinetic - potential) / masses.amax(-1)


def angular_momentum(states: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return the size of the angular momentum, |sum_i w_i x_i times v_i|, (N, T), in AU^2 / year; see ``energy``."""
    places, velocities, masses = _bodies(states, parameters)
    weights = (masses / masses.amax(-1, keepdim=True))[..., None]
    return YEAR * (weights * torch.linalg.cross(places, velocities)).sum(-2).norm(dim=-1)


def _bodies(states: Tensor, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return positions and velocities (N, T, bodies, 3), and gravitational parameters (N, 1, bodies)."""
    masses = torch.stack([each.to(states) for each in parameters.values()], dim=-1)[:, None]
    places, velocities = states.unflatten(-1, (2, -1, 3)).unbind(-3)
    return places, velocities, masses


INVARIANTS: dict[str, Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = {
    "energy": energy,
    "angular_momentum": angular_momentum,
}
"""What Newton's law keeps, by name."""
