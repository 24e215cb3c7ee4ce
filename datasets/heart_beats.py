"""The five classes of heart beats of ANSI/AAMI EC57, and the codes of annotations that belong to each.

Source: ANSI/AAMI EC57:1998, Testing and reporting performance results of cardiac rhythm and ST segment measurement
algorithms, Table 3; codes of WFDB, https://physionet.org/physiotools/wpg/wpg_36.htm.
"""

from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.recording import Events

CLASSES = ("N", "S", "V", "F", "Q")
"""Normal and bundle branch block; supraventricular ectopic; ventricular ectopic; fusion of both; paced or unknown."""
CODES = {
    "N": ("N", ".", "L", "R", "B", "e", "j"),
    "S": ("A", "a", "J", "S", "n"),
    "V": ("V", "E", "r"),
    "F": ("F",),
    "Q": ("/", "f", "Q", "?"),
}
"""Codes of WFDB for the beats of each class."""
NO_BEATS = frozenset("[!]xt()pu`'^|~+sTD=\"@*")
"""Codes that are no beats: of rhythm and signal quality, of waves and of comments."""
CLASS_OF = {code: CLASSES.index(name) for name, codes in CODES.items() for code in codes}


class Beats(NamedTuple):
    """Beats of a recording.

    Attributes:
        samples: (N,) int64, where each lies.
        labels: (N,) int64, an index into ``CLASSES``.
    """

    samples: np.ndarray
    labels: np.ndarray


def beats_of(events: Events, *, where: str) -> Beats:
    """Return the beats among the events of a recording, by their class.

    Args:
        events: in the codes of WFDB.
        where: what to call the recording in a message.

    Raises:
        InputError: a code that WFDB does not have.

    Example:
        >>> beats_of(Events.of([5, 9, 12], ["N", "+", "V"]), where="100").labels
        array([0, 2])
    """
    strange = sorted({str(code) for code in events.symbols} - CLASS_OF.keys() - NO_BEATS)
    if strange:
        raise InputError(
            f"{where}: {strange[0]!r} is no code of an annotation in WFDB: tell what it stands for by one of "
            f"{' '.join(CLASS_OF)}."
        )
    chosen = np.array([code in CLASS_OF for code in events.symbols], dtype=bool)
    labels = np.array([CLASS_OF[code] for code in events.symbols[chosen]], dtype=np.int64)
    return Beats(events.samples[chosen], labels)
