"""Forecasting windows on random irregular tables: what enters a batch, when, and from which part.

The oracle is a plain loop over the rows of a series.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask, ForecastWindows
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS, ChronologicalSplit, chronological
from integrand.datasets.tables import Series, Table

TENSORS = [f.name for f in fields(IrregularBatch) if "Tensor" in str(f.type) and f.name != "known"]


@dataclass(frozen=True)
class Setting:
    table: Table
    task: ForecastTask
    split: ChronologicalSplit
    stride: int = 1

    def windows(self, part: str = "train", table: Table | None = None, **options) -> ForecastWindows:
        return ForecastWindows(table or self.table, self.task, self.split, part, stride=self.stride, **options)


def make(
    seed: int, *, series: int = 2, rows: int = 60, context: float = 6.0, horizon: float = 3.0, stride: int = 1
) -> Setting:
    """A table of irregular rows with a third of the cells missing, its last group unknown in training."""
    random = np.random.default_rng(seed)
    names = [f"station {i}" for i in range(series)]
    table = Table(
        [
            Series(
                name,
                # Quarters: sums and differences are exact, and rows fall on the borders of windows.
                np.unique(random.integers(0, 4 * rows, rows)) / 4,
                values=np.zeros((0, 3), dtype=np.float32),
            )
            for name in names
        ],
        ["temp", "wind", "rain"],
        time_unit="h",
        epoch=pd.to_datetime("2024-02-28 17:30", utc=True),
        timezone=None,
        time_column="time",
        layout="wide",
        group_column="station",
        notices=[],
    )

    def values(length: int) -> np.ndarray:
        drawn = random.normal(10, 5, (length, 3)).astype(np.float32)
        drawn[random.random((length, 3)) < 1 / 3] = np.nan
        return drawn

    table = replace(table, series=[replace(s, values=values(len(s.times))) for s in table.series])
    task = ForecastTask(
        channels=["temp", "wind", "rain"],
        targets=2,
        units=["C", "m/s", "mm"],
        time_unit="h",
        context=context,
        horizon=horizon,
        resolution=1.0,
        periods=[24.0, 168.0],
        groups=names[:-1] if series > 1 else names,
        location=[10.0, 9.0, 11.0],
        scale=[5.0, 4.0, 2.0],
    )
    end = max(s.times[-1] for s in table.series)
    return Setting(table, task, chronological(0.0, end, (0.5, 0.25, 0.25), {}), stride)


@st.composite
def settings_of_windows(draw) -> Setting:
    setting = make(
        draw(st.integers(0, 2**32 - 1)),
        series=draw(st.integers(1, 3)),
        rows=draw(st.integers(30, 80)),
        context=draw(st.sampled_from([0.5, 2.25, 6.0])),
        horizon=draw(st.sampled_from([0.25, 1.0, 3.0])),
        stride=draw(st.integers(1, 4)),
    )
    try:
        setting.windows("train")
    except InputError:
        assume(False)
    return setting


drops = st.sampled_from([(0.0, 0.0), (0.2, 0.6), (0.9, 0.99)])


def all_of(windows: ForecastWindows, epoch: int = 0) -> IrregularBatch:
    return windows.__getitems__([epoch * len(windows) + i for i in range(len(windows))])


def same(one: IrregularBatch, other: IrregularBatch) -> bool:
    tensors = all(torch.equal(getattr(one, name), getattr(other, name)) for name in TENSORS)
    return tensors and (one.group, one.sample_id, one.meta) == (other.group, other.sample_id, other.meta)


def origin_of(batch: IrregularBatch, sample: int) -> tuple[str, float]:
    group, time = batch.sample_id[sample].rsplit("@", 1)
    return group, float(time)


def standardised(values: np.ndarray, task: ForecastTask, channels: int) -> tuple[np.ndarray, np.ndarray]:
    scaled = (values[:, :channels].astype(np.float64) - task.location[:channels]) / task.scale[:channels]
    return np.nan_to_num(scaled).astype(np.float32), np.isfinite(values[:, :channels])


def expected_origins(setting: Setting, part: str) -> list[tuple[str, float]]:
    start, end = setting.split.span(part)
    found = []
    for series in setting.table.series:
        inside = [
            t
            for t in series.times.tolist()
            if t - setting.task.context >= start
            and t + setting.task.horizon < end
            and t + setting.task.horizon <= series.times[-1]
        ]
        found += [(series.group, t) for t in inside[:: setting.stride]]
    return found


@settings(max_examples=40, deadline=None)
@given(setting=settings_of_windows(), drop=drops, epoch=st.integers(0, 3))
def test_batches_keep_the_contract(setting: Setting, drop, epoch: int):
    batch = all_of(setting.windows(drop=drop), epoch).check()
    assert batch.target is not None
    assert batch.target_times is not None
    assert (batch.times <= 0).all()
    assert (batch.times > -setting.task.context).all()
    assert (batch.target_times <= setting.task.horizon).all()
    assert (batch.target_times.diff(dim=1) >= 0).all()
    assert batch.values.dtype == batch.times.dtype == batch.target.dtype == torch.float32
    assert batch.meta == {"time_unit": "h", "cutoff": 0.0}


@settings(max_examples=40, deadline=None)
@given(setting=settings_of_windows())
def test_batches_hold_the_standardised_table_at_the_right_times(setting: Setting):
    task, batch = setting.task, all_of(setting.windows())
    assert [origin_of(batch, i) for i in range(len(batch))] == expected_origins(setting, "train")
    assert batch.target is not None
    assert batch.target_mask is not None
    assert batch.target_times is not None
    by_name = {series.group: series for series in setting.table.series}
    for i in range(len(batch)):
        group, origin = origin_of(batch, i)
        series = by_name[group]
        seen = [r for r, t in enumerate(series.times) if origin - task.context < t <= origin]
        ahead = [r for r, t in enumerate(series.times) if origin < t <= origin + task.horizon]
        values, mask = standardised(series.values[seen], task, 3)
        assert int(batch.lengths[i]) == len(seen)
        np.testing.assert_array_equal(batch.times[i, : len(seen)], series.times[seen] - origin)
        np.testing.assert_array_equal(batch.values[i, : len(seen)], values)
        np.testing.assert_array_equal(batch.mask[i, : len(seen)], mask)
        values, mask = standardised(series.values[ahead], task, task.targets)
        np.testing.assert_array_equal(batch.target_times[i, : len(ahead)], series.times[ahead] - origin)
        np.testing.assert_array_equal(batch.target[i, : len(ahead)], values)
        np.testing.assert_array_equal(batch.target_mask[i, : len(ahead)], mask)
        assert not batch.target_mask[i, len(ahead) :].any()
        assert (batch.target_times[i, len(ahead) :] == (series.times[ahead[-1]] - origin if ahead else 0)).all()


@settings(max_examples=30, deadline=None)
@given(setting=settings_of_windows(), drop=drops, data=st.data())
def test_nothing_after_the_origin_enters_the_context(setting: Setting, drop, data):
    windows = setting.windows(drop=drop)
    index = data.draw(st.integers(0, len(windows) - 1))
    before = windows[index]
    group, origin = origin_of(before, 0)
    edited = [
        replace(s, values=np.where(s.times[:, None] > origin, np.float32(1e6), s.values)) for s in setting.table.series
    ]
    after = setting.windows(drop=drop, table=replace(setting.table, series=edited))[index]
    assert (group, origin) == origin_of(after, 0)
    for name in ("values", "mask", "times", "lengths", "static", "phase"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    assert before.target is not None
    assert after.target is not None
    if before.target.numel():
        assert (after.target > 1e4).any()  # the edit did happen


@settings(max_examples=30, deadline=None)
@given(setting=settings_of_windows())
def test_windows_lie_within_their_part_and_parts_share_no_row(setting: Setting):
    rows: dict[str, set[tuple[str, float]]] = {}
    for part in PARTS:
        start, end = setting.split.span(part)
        try:
            batch = all_of(setting.windows(part))
        except InputError:
            continue
        used = set()
        for i in range(len(batch)):
            group, origin = origin_of(batch, i)
            assert start <= origin - setting.task.context
            assert origin + setting.task.horizon < end
            assert batch.target_times is not None
            shifts = [*batch.times[i, : int(batch.lengths[i])].tolist(), *batch.target_times[i].tolist()]
            used |= {(group, origin + shift) for shift in shifts}
        rows[part] = used
        assert all(start <= time < end for _, time in used)
    parts = list(rows.values())
    assert sum(len(part) for part in parts) == len(set().union(*parts))


@settings(max_examples=30, deadline=None)
@given(setting=settings_of_windows(), drop=drops, epoch=st.integers(0, 5), data=st.data())
def test_a_batch_equals_its_samples_one_by_one(setting: Setting, drop, epoch: int, data):
    """So drops depend on nothing but the window: neither on the batch nor on the order in it."""
    windows = setting.windows(drop=drop)
    chosen = data.draw(st.lists(st.integers(0, len(windows) - 1), min_size=1, max_size=6))
    indices = [epoch * len(windows) + i for i in chosen]
    batch = windows.__getitems__(indices)
    for row, index in enumerate(indices):
        alone = windows[index]
        length = int(alone.lengths[0])
        assert int(batch.lengths[row]) == length
        assert alone.values.shape[1] == length  # no padding of one's own
        for name in ("values", "mask", "times"):
            assert torch.equal(getattr(batch, name)[row, :length], getattr(alone, name)[0]), name
        queries = alone.target_times.shape[1] if alone.target_times is not None else 0
        for name in ("target", "target_mask", "target_times"):
            assert torch.equal(getattr(batch, name)[row, :queries], getattr(alone, name)[0]), name
        for name in ("static", "phase"):
            assert torch.equal(getattr(batch, name)[row], getattr(alone, name)[0]), name
        assert (batch.group[row], batch.sample_id[row]) == (alone.group[0], alone.sample_id[0])


def test_drops_depend_on_seed_part_epoch_and_window():
    setting = make(0, rows=400)
    windows = setting.windows(drop=(0.3, 0.7), seed=5)
    assert same(all_of(windows, 2), all_of(setting.windows(drop=(0.3, 0.7), seed=5), 2))
    assert not same(all_of(windows, 2), all_of(windows, 3))
    assert not same(all_of(windows, 2), all_of(setting.windows(drop=(0.3, 0.7), seed=6), 2))
    full = setting.windows().windows

    def kept(part: str, window: int) -> np.ndarray:
        drawn = setting.windows(part, drop=(0.3, 0.7), seed=5)
        keep = drawn._keep(np.array([0]), np.array([window]))
        assert keep is not None
        return keep[0, :8]

    assert full.longest >= 8
    assert any((kept("train", w) != kept("test", w)).any() for w in range(10))
    assert any((kept("train", w) != kept("train", w + 1)).any() for w in range(10))


def test_the_seed_may_be_any_that_torch_takes():
    setting = make(0)
    first, last = (all_of(setting.windows(drop=(0.5, 0.5), seed=seed)) for seed in (0, 2**32 - 1))
    assert not same(first, last)


@pytest.mark.parametrize("drop", [(0.2, 0.2), (0.1, 0.7), (0.5, 0.6)])
def test_the_share_dropped_is_uniform_on_its_range(drop: tuple[float, float]):
    setting = make(1, series=3, rows=2000, context=24.0)
    windows = setting.windows(drop=drop)
    before = torch.from_numpy(windows.windows.context_rows(np.arange(len(windows))))
    shares = torch.cat([1 - all_of(windows, epoch).lengths / before for epoch in range(4)]).double()
    low, high = drop
    n, rows = len(shares), float(before.double().mean())
    assert n > 2000
    assert rows > 12  # so that a context is never emptied: 0.7^12 of them would keep their last row for that
    # A uniform share with the binomial noise of about `rows` draws; five standard errors, and the contexts emptied.
    middle = (low + high) / 2
    variance = (high - low) ** 2 / 12 + (middle - middle**2 - (high - low) ** 2 / 12) / rows
    assert float(shares.mean()) == pytest.approx(middle, abs=5 * (variance / n) ** 0.5 + high**12)
    # A variance estimated from n shares varies by about sqrt(2 / n) of itself; contexts differ in length by a fifth.
    assert float(shares.var()) == pytest.approx(variance, rel=5 * (2 / n) ** 0.5 + 0.1)


def test_a_context_is_never_emptied():
    setting = make(2, rows=300, context=3.0)
    windows = setting.windows(drop=(0.98, 0.99))
    before = windows.windows.context_rows(np.arange(len(windows)))
    batch = all_of(windows)
    assert (batch.lengths >= 1).all()
    assert (batch.lengths[torch.from_numpy(before) > 3] == 1).any()
    emptied = batch.lengths == 1
    last = batch.times.gather(1, (batch.lengths - 1).unsqueeze(1)).squeeze(1)
    assert (last[emptied] == 0).sum() > len(batch) / 4  # the row at the origin, unless another survived


def test_dropped_rows_are_a_part_of_the_whole():
    setting = make(3, rows=200)
    whole, thinned = all_of(setting.windows()), all_of(setting.windows(drop=(0.4, 0.6)))
    for i in range(len(whole)):
        rows = dict(zip(whole.times[i, : int(whole.lengths[i])].tolist(), whole.values[i].tolist(), strict=False))
        for time, values in zip(
            thinned.times[i, : int(thinned.lengths[i])].tolist(), thinned.values[i].tolist(), strict=False
        ):
            assert rows[time] == values
    assert thinned.lengths.sum() < whole.lengths.sum()
    for name in ("target", "target_mask", "target_times", "phase", "static"):
        assert torch.equal(getattr(whole, name), getattr(thinned, name)), name


def test_groups_are_one_hot_and_unknown_ones_zero():
    setting = make(4, series=3)
    batch = all_of(setting.windows())
    assert batch.static is not None
    known = {"station 0": [1.0, 0.0], "station 1": [0.0, 1.0], "station 2": [0.0, 0.0]}
    assert set(batch.group) == set(known)
    assert batch.static.tolist() == [known[group] for group in batch.group]


@pytest.mark.parametrize("epoch", ["1970-01-01 00:00", "2024-02-28 17:30", "1969-12-31 06:00"])
@pytest.mark.parametrize("unit", ["h", "min", "d"])
def test_the_phase_is_that_of_the_calendar(epoch: str, unit: str):
    """Hours since midnight, and days since Thursday, on which 1970 began, as pandas reads them off the dates."""
    a_day = {"h": 24.0, "min": 1440.0, "d": 1.0}[unit]
    setting = make(5)
    table = replace(setting.table, epoch=pd.to_datetime(epoch, utc=True), time_unit=unit)
    task = replace(setting.task, time_unit=unit, periods=[a_day, 7 * a_day])
    batch = all_of(replace(setting, table=table, task=task).windows())
    stamps = table.stamps(np.array([origin_of(batch, i)[1] for i in range(len(batch))]))
    assert isinstance(stamps, pd.DatetimeIndex)
    stamps: Any = stamps  # its methods are made at run time
    day = (stamps - stamps.normalize()) / pd.Timedelta("1D")
    week = ((stamps.day_of_week - 3) % 7 + day) / 7
    assert batch.phase is not None
    phase = batch.phase.double().numpy()
    assert (phase >= 0).all()
    # Single precision of angles up to 2 pi; an angle and one turn more are the same.
    for column, share in ((0, day), (1, week)):
        gap = np.angle(np.exp(1j * (phase[:, column] - 2 * np.pi * np.asarray(share))))
        np.testing.assert_allclose(gap, 0, atol=2 * np.pi * torch.finfo(torch.float32).eps)


def test_plain_numbers_have_phases_from_zero():
    setting = make(6)
    table = replace(setting.table, epoch=None, time_unit="1")
    batch = all_of(replace(setting, table=table).windows())
    origins = np.array([origin_of(batch, i)[1] for i in range(len(batch))])
    assert batch.phase is not None
    np.testing.assert_allclose(batch.phase[:, 0], 2 * np.pi * (origins % 24) / 24, rtol=1e-6, atol=1e-6)


def test_sample_names_are_unique_far_from_zero():
    """Plain numbers may be seconds since 1970, in which six digits tell nothing apart."""
    setting = make(7)
    far = 1.7e9
    table = replace(
        setting.table, epoch=None, time_unit="1", series=[replace(s, times=s.times + far) for s in setting.table.series]
    )
    split = replace(
        setting.split, **{k: getattr(setting.split, k) + far for k in ("start", "validation", "test", "end")}
    )
    batch = all_of(replace(setting, table=table, split=split).windows())
    assert len(set(batch.sample_id)) == len(batch)
    # Times from the origin are exact in spite of the great numbers, for they are taken in double precision.
    assert torch.equal(batch.times, all_of(setting.windows()).times)


def test_an_index_counts_windows_and_then_epochs():
    setting = make(8)
    windows = setting.windows(drop=(0.5, 0.5))
    n = len(windows)
    again = windows.__getitems__([n, n + 1])
    assert again.sample_id == [windows[0].sample_id[0], windows[1].sample_id[0]]
    mixed = windows.__getitems__([0, 3 * n])
    for row, index in enumerate((0, 3 * n)):
        assert int(mixed.lengths[row]) == int(windows[index].lengths[0])


def test_workers_give_the_same_batches():
    windows = make(9).windows(drop=(0.3, 0.6))
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0)).tolist()[:24]

    def batches(workers: int) -> list[IrregularBatch]:
        loader = torch.utils.data.DataLoader(
            windows, sampler=order, batch_size=8, num_workers=workers, collate_fn=lambda batch: batch
        )
        return list(loader)

    for one, other in zip(batches(0), batches(1), strict=True):
        assert same(one, other)


@pytest.mark.parametrize("drop", [(-0.1, 0.5), (0.5, 0.4), (0.5, 1.0)])
def test_impossible_drops_are_refused(drop):
    with pytest.raises(InputError, match=r"0 <= low <= high < 1, got \("):
        make(0).windows(drop=drop)


def test_a_part_too_short_for_a_window_is_named():
    setting = make(0, context=40.0)
    with pytest.raises(
        InputError, match=r"the validation part spans .* h and holds no window of context 40 and horizon 3"
    ):
        setting.windows("validation")
    with pytest.raises(InputError, match="unknown part 'tests': did you mean 'test'"):
        setting.windows("tests")


def test_a_task_is_plain_values():
    task = make(0).task
    assert ForecastTask(**task.to_dict()) == task
    assert not any(isinstance(value, Tensor) for value in task.to_dict().values())
