"""Imputation windows: what is hidden, where it still is, how often, and which rows a part holds.

Dimension letters: N windows, L rows of a window, C channels.
"""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.imputation import HIDE, ImputationTask, ImputationWindows
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS, ChronologicalSplit, IndexSplit, by_series, chronological
from integrand.datasets.tables import Series, Table

TENSORS = [f.name for f in fields(IrregularBatch) if "Tensor" in str(f.type)]
PATTERNS = [hide for hide in HIDE if hide != "none"]


def table_of(*series: tuple[np.ndarray, np.ndarray]) -> Table:
    """A table of stations whose stamps are plain numbers."""
    return Table(
        [Series(f"s{k}", times, values=values.astype(np.float32)) for k, (times, values) in enumerate(series)],
        [f"c{k}" for k in range(series[0][1].shape[1])],
        time_unit="1",
        epoch=None,
        timezone=None,
        time_column="time",
        layout="wide",
        group_column="station",
        notices=[],
    )


def irregular(seed: int = 0, *, count: int = 3, rows: int = 150, channels: int = 3) -> Table:
    """Rows at random quarters, a third of the cells missing; no two cells are alike."""
    random = np.random.default_rng(seed)
    series = []
    for _ in range(count):
        # Quarters: sums and differences are exact, and rows fall on the borders of windows.
        times = np.unique(random.integers(0, 4 * rows, rows)) / 4
        values = random.normal(10, 5, (len(times), channels))
        values[random.random(values.shape) < 1 / 3] = np.nan
        series.append((times, values))
    return table_of(*series)


def regular(windows: int, length: int, channels: int) -> Table:
    """One series without gaps, ``length`` rows a window."""
    times = np.arange(windows * length, dtype=float)
    return table_of((times, np.zeros((len(times), channels))))


def task_of(table: Table, window: float) -> ImputationTask:
    channels = len(table.channels)
    return ImputationTask(
        channels=table.channels,
        units=[""] * channels,
        time_unit=table.time_unit,
        window=window,
        resolution=1.0,
        periods=[24.0],
        groups=["s0", "s2"],
        location=[10.0] * channels,
        scale=[5.0] * channels,
    )


def in_time(table: Table) -> ChronologicalSplit:
    end = max(s.times[-1] for s in table.series)
    return chronological(0.0, end, (0.5, 0.25, 0.25), {})


def windows(table: Table, part: str = "train", window: float = 8.0, split=None, **options) -> ImputationWindows:
    return ImputationWindows(table, task_of(table, window), split or in_time(table), part, **options)


def all_of(data: ImputationWindows, epoch: int = 0) -> IrregularBatch:
    return data.__getitems__([epoch * len(data) + k for k in range(len(data))])


def hidden_of(data: ImputationWindows, epoch: int = 0) -> np.ndarray:
    """Which cells (N, L, C) are hidden, of windows that are all of one length and wholly observed."""
    batch = all_of(data, epoch)
    assert batch.target_mask is not None
    assert bool((batch.mask ^ batch.target_mask).all())
    return batch.target_mask.numpy()


def rows_in(data: ImputationWindows) -> list[tuple[str, float]]:
    """Group and stamp of every row of every window."""
    batch = all_of(data)
    found = []
    for k, name in enumerate(batch.sample_id):
        group, start = name.rsplit("@", 1)
        found += [(group, float(start) + float(t)) for t in batch.times[k, : batch.lengths[k]]]
    return found


# What a batch holds


@pytest.mark.parametrize("hide", PATTERNS)
def test_hidden_values_are_nowhere_but_in_target(hide: str):
    """Other values under the hidden cells change the target and nothing else of the batch."""
    table = irregular()
    options = {"hide": hide, "share": (0.3, 0.6), "block": 3.0}
    batch = all_of(windows(table, "validation", **options))
    assert batch.target_mask is not None
    series = [replace(s, values=s.values.copy()) for s in table.series]
    where = {(s.group, t): (s.values, row) for s in series for row, t in enumerate(s.times)}
    for k, name in enumerate(batch.sample_id):
        group, start = name.rsplit("@", 1)
        for row in range(int(batch.lengths[k])):
            values, place = where[group, float(start) + float(batch.times[k, row])]
            values[place, batch.target_mask[k, row].numpy()] = 1e6
    other = all_of(windows(replace(table, series=series), "validation", **options))
    for name in TENSORS:
        one, two = getattr(batch, name), getattr(other, name)
        if name == "target":
            assert torch.equal(one[~batch.target_mask], two[~batch.target_mask])
            assert bool((two[batch.target_mask] > 1e5).all())
        else:
            assert one is two is None or torch.equal(one, two), name


@pytest.mark.parametrize("hide", PATTERNS)
def test_every_observed_cell_is_given_or_asked_for_and_standardised(hide: str):
    """Against a loop over the table's rows; what is neither is 0."""
    table = irregular(1)
    batch = all_of(windows(table, "train", hide=hide, share=(0.4, 0.4), stride=5))
    assert batch.target is not None
    assert batch.target_mask is not None
    assert batch.target_times is not None
    assert torch.equal(batch.target_times, batch.times)
    assert not bool((batch.mask & batch.target_mask).any())
    assert 0 < int(batch.target_mask.sum()) < int(batch.mask.sum() + batch.target_mask.sum())
    cells = {(s.group, t): row for s in table.series for t, row in zip(s.times, s.values, strict=True)}
    for k, name in enumerate(batch.sample_id):
        group, start = name.rsplit("@", 1)
        length = int(batch.lengths[k])
        expected = np.stack([cells[group, float(start) + float(t)] for t in batch.times[k, :length]])
        given, asked = batch.mask[k].numpy(), batch.target_mask[k].numpy()
        np.testing.assert_array_equal((given | asked)[:length], np.isfinite(expected))
        assert not (given | asked)[length:].any()
        both = np.where(given, batch.values[k].numpy(), 0) + np.where(asked, batch.target[k].numpy(), 0)
        np.testing.assert_allclose(both[:length], np.nan_to_num((expected - 10) / 5), atol=1e-6)
        assert not batch.values[k].numpy()[~given].any()
        assert not batch.target[k].numpy()[~asked].any()
        assert float(batch.times[k, length:].sub(batch.times[k, length - 1]).abs().sum()) == 0
    assert batch.static is not None
    assert {name: row.tolist() for name, row in zip(batch.group, batch.static, strict=True)} == {
        "s0": [1, 0],
        "s1": [0, 0],
        "s2": [0, 1],
    }


def test_hiding_nothing_asks_for_all_that_is_given():
    batch = all_of(windows(irregular(2), "test", hide="none"))
    assert batch.target is not None
    assert batch.target_mask is not None
    assert bool(batch.mask.any())
    assert torch.equal(batch.mask, batch.target_mask)
    assert torch.equal(batch.values, batch.target)


# What is hidden


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("hide", PATTERNS)
def test_hidden_cells_are_those_of_the_seed_and_the_window_alone(part: str, hide: str):
    """In whatever company a window is read, and however long it is padded."""
    data = windows(irregular(3), part, hide=hide, share=(0.2, 0.7), seed=5)
    again = windows(irregular(3), part, hide=hide, share=(0.2, 0.7), seed=5)
    other = windows(irregular(3), part, hide=hide, share=(0.2, 0.7), seed=6)
    whole = all_of(data)
    assert whole.target_mask is not None
    different = 0
    for k in reversed(range(len(data))):
        alone, length = again[k], int(whole.lengths[k])
        assert alone.target_mask is not None
        assert torch.equal(alone.target_mask[0], whole.target_mask[k, :length])
        mask = other[k].target_mask
        assert mask is not None
        different += int(not torch.equal(mask[0], alone.target_mask[0]))
    assert different > 0.9 * len(data)


def test_training_hides_anew_each_epoch_and_parts_each_for_themselves():
    table = regular(40, 8, 2)
    data = windows(table, "train")
    first, second = hidden_of(data), hidden_of(data, epoch=1)
    assert len(data) > 100
    assert (first != second).any((1, 2)).mean() > 0.99
    one, two = (hidden_of(windows(table, part)) for part in ("validation", "test"))
    assert (one[: len(two)] != two[: len(one)]).any((1, 2)).mean() > 0.9


def test_points_and_rows_are_hidden_as_often_as_asked():
    """Within five standard deviations of the binomial law, over 1,250 windows of 16 rows and 5 channels."""
    table, share = regular(5000, 16, 5), 0.3
    points = hidden_of(windows(table, "test", window=16.0, share=(share, share)))
    assert abs(points.mean() - share) < 5 * np.sqrt(share * (1 - share) / points.size)
    # Cells are independent of one another: so are the counts of a row's.
    together = (points[..., 0] & points[..., 1]).mean()
    assert abs(together - share**2) < 5 * np.sqrt(share**2 * (1 - share**2) / points[..., 0].size)
    rows = hidden_of(windows(table, "test", window=16.0, hide="rows", share=(share, share)))
    assert (rows.all(2) == rows.any(2)).all()
    assert abs(rows[..., 0].mean() - share) < 5 * np.sqrt(share * (1 - share) / rows[..., 0].size)


def test_the_share_is_drawn_for_each_window_between_the_two():
    low, high = 0.2, 0.8
    shares = hidden_of(windows(regular(5000, 40, 25), "test", window=40.0, share=(low, high))).mean((1, 2))
    error = np.sqrt(0.25 / 1000)  # of a window's own share, at most
    assert low - 5 * error < shares.min() < low + 0.05
    assert high - 0.05 < shares.max() < high + 5 * error
    spread = (high - low) / np.sqrt(12)  # of a uniform law
    assert abs(shares.mean() - (low + high) / 2) < 5 * spread / np.sqrt(len(shares))
    assert abs(shares.std() - spread) < 0.02


@pytest.mark.parametrize(("share", "block"), [(0.5, 3.0), (0.2, 6.5), (0.9, 1.0)])
def test_blocks_are_stretches_of_a_poisson_process(share: float, block: float):
    """Times a lag d <= block apart are both spared where no stretch begins in the block + d before the later one:

    with probability exp(-rate (block + d)) = (1 - share)^(1 + d / block), 750 windows of 8 channels being independent.
    """
    hidden = hidden_of(
        windows(regular(3000, 12, 8), "test", window=12.0, hide="block", share=(share, share), block=block)
    )
    count = hidden.shape[0] * hidden.shape[2]
    for lag in range(int(block) + 1):
        for row in (0, 5, 11 - lag):  # at the ends of a window as in its middle
            expected = (1 - share) ** (1 + lag / block)
            spared = (~hidden[:, row] & ~hidden[:, row + lag]).mean()
            assert abs(spared - expected) < 5 * np.sqrt(expected * (1 - expected) / count)
    far = int(block) + 2  # beyond a stretch's length nothing is shared
    spared = (~hidden[:, 0] & ~hidden[:, far]).mean()
    expected = (1 - share) ** 2
    assert abs(spared - expected) < 5 * np.sqrt(expected * (1 - expected) / count)


def test_random_patterns_are_one_of_three_for_each_window():
    hidden = hidden_of(windows(regular(4000, 24, 6), "test", window=24.0, hide="random", share=(0.5, 0.5), block=6.0))
    rows = (hidden.all(2) == hidden.any(2)).all(1)
    changes = (hidden[:, 1:] != hidden[:, :-1]).mean((1, 2))  # a half of points, and few of blocks
    blocks = ~rows & (changes < 0.35)
    for kind in (rows, blocks, ~rows & ~blocks):
        assert abs(kind.mean() - 1 / 3) < 5 * np.sqrt(2 / 9 / len(hidden))


# Which rows


@pytest.mark.parametrize("window", [2.0, 8.0, 40.0])
def test_parts_share_no_time_and_tiles_hold_every_row_once(window: float):
    table, split = irregular(4), in_time(irregular(4))
    for part in PARTS:
        low, high = split.span(part)
        inside = sorted((s.group, t) for s in table.series for t in s.times if low <= t < high)
        found = rows_in(windows(table, part, window=window))
        assert set(found) <= set(inside)
        if part != "train":
            assert sorted(found) == inside


def test_parts_by_series_share_no_series():
    table = irregular(5, count=9, rows=40)
    split = by_series(9, fractions=(0.5, 0.25, 0.25), seed=1, of={})
    groups = {part: {group for group, _ in rows_in(windows(table, part, split=split))} for part in PARTS}
    assert [len(groups[part]) for part in PARTS] == [4, 3, 2]
    assert len(set.union(*groups.values())) == 9
    whole = sorted((s.group, t) for s in table.series if s.group in groups["test"] for t in s.times)
    assert sorted(rows_in(windows(table, "test", split=split))) == whole


@pytest.mark.parametrize("stride", [1, 3])
def test_training_windows_start_every_so_many_rows_and_are_whole(stride: int):
    table = irregular(6, count=1)
    data = windows(table, "train", stride=stride)
    low, high = in_time(table).span("train")
    times = table.series[0].times
    times = times[(times >= low) & (times < high)]
    assert data.cuts.starts.tolist() == [t for t in times if t + 8 <= times[-1]][::stride]
    batch = all_of(data)
    for k, start in enumerate(data.cuts.starts):
        own = times[(times >= start) & (times < start + 8)] - start
        np.testing.assert_array_equal(batch.times[k, : batch.lengths[k]], own)


def test_a_series_shorter_than_a_window_is_one():
    long, short = np.arange(30.0), np.array([2.0, 3.5])
    table = table_of((long, np.ones((30, 1))), (short, np.ones((2, 1))), (np.array([7.0]), np.ones((1, 1))))
    table = replace(table, series=[*table.series, *table_of((long, np.ones((30, 1)))).series])
    split = IndexSplit((0, 1, 2), (), (3,), {})
    batch = all_of(ImputationWindows(table, task_of(table, 8.0), split, "train", stride=10))
    assert batch.sample_id == ["s0@0", "s0@10", "s0@20", "s1@2", "s2@7"]
    assert batch.lengths.tolist() == [8, 8, 8, 2, 1]
    assert batch.times[3, :2].tolist() == [0, 1.5]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hide": "rwos"}, "unknown pattern of hidden values 'rwos': did you mean 'rows'"),
        ({"share": (0.0, 0.5)}, "0 < low <= high < 1, got (0.0, 0.5)"),
        ({"share": (0.5, 1.0)}, "0 < low <= high < 1"),
        ({"share": (0.6, 0.5)}, "0 < low <= high < 1"),
        ({"block": 0.0}, "block=0.0 is out of range: it must be positive"),
        ({"part": "tset"}, "unknown part 'tset': did you mean 'test'"),
    ],
)
def test_bad_options_are_named(options: dict, told: str):
    with pytest.raises(InputError) as caught:
        windows(irregular(), **options)
    assert told in str(caught.value)


def test_a_part_without_rows_is_named():
    table = regular(4, 8, 1)
    with pytest.raises(InputError, match=r"the test part holds no window of 8: shorten it"):
        windows(table, "test", split=ChronologicalSplit(0, 30, 40, 50, {}))
