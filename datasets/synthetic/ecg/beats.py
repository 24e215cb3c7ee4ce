"""Kinds of beats, each by its waves, and how patients differ in them.

Dimension letters: M kinds of beats, W waves, C leads.
"""

import math

import numpy as np

from integrand.datasets.synthetic.ecg.dipole import WAVES, Waves

LEADS = ("II", "V1")
KINDS = ("N", "S", "V", "F")
"""Normal; supraventricular ectopic; ventricular ectopic; fusion of a normal and a ventricular one."""
ANGLES = (-math.pi / 3, -math.pi / 12, 0.0, math.pi / 12, math.pi / 2)
WIDTHS = (0.25, 0.1, 0.1, 0.1, 0.4)
"""Table I of McSharry et al. (2003), for P, Q, R, S and T."""
LEAD_II = (1.2 * 0.25**2, -5.0 * 0.1**2, 30.0 * 0.1**2, -7.5 * 0.1**2, 0.75 * 0.4**2)
"""a_i b_i^2 of the same table, to which the heights are proportional."""
R_PEAK = 1.2
"""mV, the height of the R wave in lead II: the model's figures go up to 1.2 mV."""
LEAD_V1 = (0.08, 0.0, 0.25, -1.0, 0.15)
"""mV in a lead that sees the same beat from the right: a small R and a deep S wave."""
VENTRICULAR_WIDTHS = (0.25, 0.2, 0.25, 0.25, 0.45)
VENTRICULAR_ANGLES = (-math.pi / 3, -0.5, 0.0, 0.5, math.pi / 2 + 0.25)


def draw_waves(generator: np.random.Generator) -> Waves:
    """Draw the beats of one patient: a row for each of ``KINDS``, the waves ``WAVES``, the leads ``LEADS``.

    - N: the published table, in lead II scaled to an R wave of ``R_PEAK``; the patient's own heights by a factor about
      1 with a deviation of 20 %, angles and widths with one of 5 %, and a T wave that is upright or, in one of ten,
      not.
    - S: the patient's N, for the way through the ventricles is the same, but the P wave comes from elsewhere in the
      atria: of another height, perhaps inverted, and nearer by.
    - V: begins in a ventricle. No P wave, a QRS of two to three times the width, larger, upright or not, and a T wave
      against it.
    - F: halfway between N and V.

    Args:
        generator: of random numbers.

    Source: McSharry, Clifford, Tarassenko and Smith (2003), Table I, for N; the others, and how patients differ, are
    ours, after what textbooks say of their look.
    """
    normal = np.stack([R_PEAK / LEAD_II[2] * np.array(LEAD_II), np.array(LEAD_V1)], axis=1)
    normal = normal * np.exp(0.2 * generator.standard_normal(normal.shape))
    upright = -1.0 if generator.random() < 0.1 else 1.0
    normal[4] *= upright
    angles = np.array(ANGLES) * _about_one(generator, 0.05)
    widths = np.array(WIDTHS) * _about_one(generator, 0.05)

    atrial = normal.copy()
    atrial[0] *= generator.uniform(-1.2, 0.6, 2)
    near = angles.copy()
    near[0] *= generator.uniform(0.75, 0.95)

    sign = generator.choice([-1.0, 1.0], size=2)
    size = sign * np.array([R_PEAK, 1.0]) * generator.uniform(1.0, 1.8, 2)
    shares = np.array(
        [0.0, generator.uniform(-0.2, 0.2), 1.0, generator.uniform(-0.5, 0.3), generator.uniform(-0.6, -0.2)]
    )
    ventricular = shares[:, None] * size
    return Waves(
        angle=np.stack([angles, near, np.array(VENTRICULAR_ANGLES), (angles + np.array(VENTRICULAR_ANGLES)) / 2]),
        width=np.stack(
            [
                widths,
                widths,
                np.array(VENTRICULAR_WIDTHS) * generator.uniform(0.9, 1.2),
                (widths + np.array(VENTRICULAR_WIDTHS)) / 2,
            ]
        ),
        height=np.stack([normal, atrial, ventricular, (normal + ventricular) / 2]),
    )


def _about_one(generator: np.random.Generator, deviation: float) -> np.ndarray:
    return np.exp(deviation * generator.standard_normal(len(WAVES)))
