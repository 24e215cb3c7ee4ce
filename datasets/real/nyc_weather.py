"""Hourly weather of 2013 at three New York airports, which comes with the package (CC0).

Stations EWR (Newark), JFK and LGA (LaGuardia), 26,115 rows from 2013-01-01 06:00 to 2013-12-30 23:00 UTC. Real data in
every way: hours are missing (up to five in a row), pressure is missing in a tenth of the rows and gusts, which are
reported only where there are some, in four fifths. ``nyc_weather.PROVENANCE.md`` tells where the file comes from.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from integrand.datasets.tables import Series, Table, read_table

FILE = Path(__file__).with_name("nyc_weather.csv.xz")

# What the file holds, in the source's units: degF, degF, %, degree, mph, mph, inch, millibar, mile.
RAW_CHANNELS = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")

UNITS = {
    "temp": "degF",
    "dewp": "degF",
    "humid": "%",
    "wind_u": "mph",
    "wind_v": "mph",
    "pressure": "mbar",
    "visib": "mile",
    "wind_speed": "mph",
    "wind_gust": "mph",
    "log_precip": "ln(1 + precip / 0.01 inch)",
}
CHANNELS = tuple(UNITS)
TARGETS = CHANNELS[:7]  # what is forecast; the rest are seen as inputs alone
SMALLEST_PRECIP = 0.01  # inch, the gauge's resolution: any less is reported as 0

# Readings that can't be, with what tells so. The file keeps them; load() sets them missing.
IMPOSSIBLE = (
    # 911 knots; 18 and 11 knots in the hours around it.
    ("EWR", "2013-02-12T08:00:00Z", ("wind_speed",)),
    # 13.1 degF between 57.0 and 57.2 an hour earlier and later, with 59.0 at both other airports (13.1 degC would be
    # 55.6 degF); the dew point of 12.0 goes with it, and the humidity was computed from the two.
    ("JFK", "2013-05-09T02:00:00Z", ("temp", "dewp", "humid")),
)


def load() -> Table:
    """Return the weather as one series a station, hours since 2013-01-01 06:00 UTC, with the channels of ``UNITS``.

    With speed s and direction d, which is where the wind comes from, clockwise from north,

        wind_u = -s sin d (to the east),    wind_v = -s cos d (to the north),

    both 0 in a calm, and both missing where the wind is variable (no direction at s > 0; 456 rows) or s is missing.
    ``log_precip`` is ln(1 + p / 0.01 inch) of the hour's precipitation p. Four impossible readings in two rows are set
    missing (``IMPOSSIBLE``); the table's notices say so. Nothing else is changed and no hour is filled in.

    Example:
        >>> table = load()
        >>> [(series.group, series.values.shape) for series in table.series]
        [('EWR', (8703, 10)), ('JFK', (8706, 10)), ('LGA', (8706, 10))]
    """
    raw = read_table(FILE, time_column="time", group_column="station", channels=RAW_CHANNELS, duplicates="error")
    dropped = _drop_impossible(raw)
    series = [Series(one.group, one.times, values=_derive(one.values)) for one in raw.series]
    return replace(raw, series=series, channels=list(CHANNELS), notices=[*raw.notices, *dropped])


def _drop_impossible(table: Table) -> list[str]:
    """Set the impossible readings missing in place and return a line about each."""
    notices = []
    by_station = {one.group: one for one in table.series}
    for station, stamp, channels in IMPOSSIBLE:
        one = by_station[station]
        instants = np.asarray(table.stamps(one.times), dtype="datetime64[s]")  # in UTC, as numpy has them
        (row,) = np.flatnonzero(instants == np.datetime64(stamp.removesuffix("Z")))
        values = {name: one.values[row, RAW_CHANNELS.index(name)] for name in channels}
        for name in channels:
            one.values[row, RAW_CHANNELS.index(name)] = np.nan
        readings = ", ".join(f"{name} {value:.1f}" for name, value in values.items())
        notices.append(f"{station} {stamp}: impossible reading set missing ({readings})")
    return notices


def _derive(raw_LC: np.ndarray) -> np.ndarray:
    """Turn the file's channels into those of ``CHANNELS``, both (L, C) float32."""
    column = {name: raw_LC[:, k].astype(np.float64) for k, name in enumerate(RAW_CHANNELS)}
    speed, direction = column["wind_speed"], np.deg2rad(column["wind_dir"])
    calm = speed == 0
    column["wind_u"] = np.where(calm, 0.0, -speed * np.sin(direction))
    column["wind_v"] = np.where(calm, 0.0, -speed * np.cos(direction))
    column["log_precip"] = np.log1p(column["precip"] / SMALLEST_PRECIP)
    return np.stack([column[name] for name in CHANNELS], axis=1).astype(np.float32)
