"""Sea-surface temperature of the equatorial Pacific, where El Niño shows: monthly, 1950 to 2010, in the package.

Four regions from the coast of Peru to the middle of the ocean, 732 months without a gap. Time counts months, not days,
so that a year is the same twelve steps every time. ``small_series.PROVENANCE.md`` tells where the file comes from.

Source: NOAA, Climate Prediction Center, ERSST.v3b, https://www.cpc.ncep.noaa.gov/data/indices/.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from integrand.datasets.tables import Table, read_table

FILE = Path(__file__).with_name("el_nino.csv.xz")
UNITS = {
    "nino12": "degC",  # 0-10 S, 90-80 W
    "nino3": "degC",  # 5 N-5 S, 150-90 W
    "nino4": "degC",  # 5 N-5 S, 160 E-150 W
    "nino34": "degC",  # 5 N-5 S, 170-120 W
}
TARGETS = tuple(UNITS)


def load() -> Table:
    """Return one series, group ``"all"``, of four channels; times are months since January 1950, plain numbers.

    Example:
        >>> (series,) = load().series
        >>> series.times[[0, 1, -1]].tolist(), series.values.shape
        ([0.0, 1.0, 731.0], (732, 4))
    """
    raw = read_table(FILE, time_column="time", channels=TARGETS, duplicates="error")
    (one,) = raw.series
    months = np.asarray(raw.stamps(one.times), dtype="datetime64[M]") - np.datetime64("1950-01", "M")
    series = [replace(one, times=months.astype(np.float64))]
    return replace(raw, series=series, time_unit="1", epoch=None, timezone=None)
