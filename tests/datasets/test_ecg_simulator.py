"""The simulated electrocardiogram: the published equation solved, and the rhythms and waves that the paper tells."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.signal import periodogram

from integrand.core.errors import InputError
from integrand.datasets.heart_beats import CLASSES, beats_of
from integrand.datasets.synthetic.ecg.beats import ANGLES, KINDS, LEAD_II, R_PEAK, WIDTHS, draw_waves
from integrand.datasets.synthetic.ecg.dipole import WAVES, Waves, voltages
from integrand.datasets.synthetic.ecg.heart_rate import BREATHING, MAYER, fibrillating_intervals, rr_intervals
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

HEIGHTS = R_PEAK / LEAD_II[2] * np.array(LEAD_II)
PUBLISHED = Waves(np.array([ANGLES]), np.array([WIDTHS]), HEIGHTS[None, :, None])
"""One kind of beat, one lead."""


def in_three_variables(rate: float, seconds: float, wander: float) -> np.ndarray:
    """Solve the published equations in x, y and z by scipy, one beat a second, R peaks at half seconds."""
    a = HEIGHTS * 2 * math.pi / np.array(WIDTHS) ** 2

    def slope(t: float, state: np.ndarray) -> list[float]:
        x, y, z = state
        alpha, omega = 1 - math.hypot(x, y), 2 * math.pi
        off = (math.atan2(y, x) - np.array(ANGLES) + math.pi) % (2 * math.pi) - math.pi
        pushed = float((a * off * np.exp(-0.5 * (off / np.array(WIDTHS)) ** 2)).sum())
        z0 = wander * math.sin(2 * math.pi * 0.25 * t)
        return [alpha * x - omega * y, alpha * y + omega * x, -pushed - (z - z0)]

    w = 2 * math.pi * 0.25
    start = [-1.0, 0.0, -wander * w / (1 + w**2)]  # the angle -pi; the baseline where it is at 0
    times = np.arange(round(seconds * rate)) / rate
    found = solve_ivp(slope, (0, seconds), start, t_eval=times, rtol=1e-10, atol=1e-12, max_step=2e-3)
    return found.y[2]


def steady(rate: float, seconds: float = 4.0, wander: float = 0.15) -> np.ndarray:
    peaks = np.arange(-1, seconds + 2) + 0.5
    return voltages(peaks, PUBLISHED, np.zeros(len(peaks), int), seconds=seconds, rate=rate, wander=wander)[:, 0]


def test_the_published_equations_are_solved():
    """Beyond half a turn either counts a T wave on: it is nearer than any that the published angles begin anew."""
    # The narrowest wave has a deviation of 16 samples, at which Gauss' rule errs by (1 / 16)^4 / 4320, 4e-9 of it.
    assert np.abs(steady(1000.0) - in_three_variables(1000.0, 4.0, 0.15)).max() < 5e-8


def test_the_error_falls_as_the_fourth_power_of_the_sample():
    fine = steady(4096.0)
    errors = [np.abs(steady(rate) - fine[:: round(4096 / rate)]).max() for rate in (128.0, 256.0, 512.0)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.abs(slopes - 4).max() < 0.2


def test_intervals_that_change_are_solved_to_the_second_power():
    """Against scipy, told the same two waves' slopes in time."""
    peaks = np.array([-0.4, 0.5, 1.2, 2.3, 3.1, 4.2])

    def slope(t: float, z: np.ndarray) -> list[float]:
        k = int(np.searchsorted(peaks, t, side="right")) - 1
        interval = peaks[k + 1] - peaks[k]
        total = -float(z[0])
        for peak in peaks[k : k + 2]:
            off = 2 * math.pi * (t - peak) / interval - np.array(ANGLES) / math.sqrt(interval)
            width = np.array(WIDTHS) / math.sqrt(interval)
            a = HEIGHTS * 2 * math.pi / (width**2 * interval)
            total -= float((a * off * np.exp(-0.5 * (off / width) ** 2)).sum())
        return [total]

    def error(rate: float) -> float:
        times = np.arange(round(4 * rate)) / rate
        exact = solve_ivp(slope, (0, 4), [0.0], t_eval=times, rtol=1e-10, atol=1e-12, max_step=1e-3).y[0]
        found = voltages(peaks, PUBLISHED, np.zeros(6, int), seconds=4, rate=rate, wander=0.0)[:, 0]
        return float(np.abs(found - exact).max())

    assert error(360.0) < 1e-4
    # A kink within a sample errs by a part of the sample's square that depends on where in it it lies.
    assert error(1440.0) < error(90.0) / 16


def test_waves_are_where_the_table_has_them():
    """At an interval RR, P and T peak at theta_i sqrt(RR) / (2 pi) seconds from R, but for the fall to the baseline."""
    interval, rate = 1.21, 1000.0
    peaks = np.arange(-2, 8) * interval
    z = voltages(peaks, PUBLISHED, np.zeros(len(peaks), int), seconds=6.0, rate=rate, wander=0.0)[:, 0]
    beat = z[round(3 * interval * rate) :]
    t_wave = np.argmax(beat[150:600]) + 150
    assert t_wave / rate == pytest.approx(ANGLES[4] * 1.1 / (2 * math.pi), abs=0.03)
    before = z[round((4 * interval - 0.4) * rate) : round((4 * interval - 0.1) * rate)]
    assert np.argmax(before) / rate - 0.4 == pytest.approx(ANGLES[0] * 1.1 / (2 * math.pi), abs=0.03)
    assert abs(int(np.argmax(z[round(2.5 * interval * rate) : round(3.5 * interval * rate)])) - interval * rate / 2) < 5


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_intervals_have_the_two_rhythms(ratio: float):
    found = rr_intervals(4096, np.random.default_rng(0), mean=0.8, deviation=0.04, ratio=ratio)
    # A half of a periodic record: its mean and deviation are near those of the whole, by its 4096 / 2 / 80 rhythms.
    assert found.mean() == pytest.approx(0.8, abs=0.04 / 5)
    assert found.std() == pytest.approx(0.04, rel=0.1)
    frequency, power = periodogram(found, 1 / 0.8)
    low, high = (power[np.abs(frequency - centre) < 0.05].sum() for centre in (MAYER, BREATHING))
    # Bands of deviation c have about 2 sqrt(pi) c 4096 mean = 116 independent waves; sizes are fixed, phases are drawn.
    assert low / high == pytest.approx(ratio, rel=0.2)
    assert (low + high) / power.sum() > 0.99


def test_intervals_of_fibrillation_are_independent():
    found = fibrillating_intervals(5000, np.random.default_rng(1), mean=0.7, variation=0.24)
    assert found.mean() == pytest.approx(0.7, abs=4 * 0.24 * 0.7 / math.sqrt(5000))
    assert found.std() / found.mean() == pytest.approx(0.24, rel=4 * 0.8 / math.sqrt(5000))
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4 / math.sqrt(5000)


def quiet(*, ectopic: float = 1.0) -> EcgSimulator:
    return EcgSimulator(seconds=120.0, noise=0.0, wander=0.0, ectopic=ectopic, fibrillating=0.0)


def test_premature_beats_are_early_and_ventricular_ones_pause():
    """Both intervals about a lone ventricular beat are two usual ones, about a supraventricular one they are less."""
    met: dict[str, list[np.ndarray]] = {"V": [], "S": []}
    for record in quiet().recordings(30, seed=1):
        beats = beats_of(record.events, where=record.id)
        peaks, kinds = beats.samples / record.rate, "".join(CLASSES[label] for label in beats.labels)
        usual = np.median(np.diff(peaks)[[k == "NN" for k in (kinds[i : i + 2] for i in range(len(kinds) - 1))]])
        for kind, found in met.items():
            for place in (i for i in range(1, len(kinds) - 1) if kinds[i - 1 : i + 2] == f"N{kind}N"):
                found.append((peaks[[place, place + 1]] - peaks[place - 1]) / usual)
    assert min(len(found) for found in met.values()) > 50
    early_v, both_v = np.median(met["V"], axis=0)
    early_s, both_s = np.median(met["S"], axis=0)
    assert 0.55 < early_v < 0.8
    assert 0.55 < early_s < 0.8
    assert both_v == pytest.approx(2, abs=0.05)
    assert both_s == pytest.approx(1 + early_s, abs=0.05)


def test_ventricular_beats_are_wide_and_have_no_p_wave():
    for seed in range(5):
        waves = draw_waves(np.random.default_rng(seed))
        assert np.all(waves.height[KINDS.index("V"), 0] == 0)
        normal, ventricular = (waves.width[KINDS.index(kind), WAVES.index("R")] for kind in "NV")
        assert ventricular > 2 * normal
        assert np.allclose(waves.height[KINDS.index("F")], (waves.height[0] + waves.height[KINDS.index("V")]) / 2)


def test_marks_are_at_the_peaks():
    """Of normal beats without noise the R wave of lead II is the largest, within two samples of its mark."""
    record = quiet(ectopic=0.0).recording(3)
    for place in record.events.samples[record.events.symbols == "N"][1:-1]:
        around = record.signal[place - 30 : place + 31, 0]
        assert abs(int(np.argmax(around)) - 30) <= 2


def test_a_patient_is_the_same_whoever_else_is_drawn():
    simulator = EcgSimulator(seconds=5.0)
    all_of_them = list(simulator.recordings(3, seed=7))
    alone = simulator.recording(2, seed=7)
    assert np.array_equal(all_of_them[2].signal, alone.signal)
    assert alone.simulated
    assert alone.id == alone.patient == "simulated_7_2"
    assert len({record.content_hash for record in all_of_them}) == 3
    assert alone.signal.std() < 10


def test_fibrillation_is_told_and_has_no_early_atrial_beats():
    found = list(EcgSimulator(seconds=20.0, fibrillating=1.0, ectopic=1.0).recordings(4))
    assert {record.events.notes[0] for record in found} == {"(AFIB"}
    assert not any((record.events.symbols == "A").any() for record in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "seconds=0 is out of range: it must be at least 1"),
        ({"rate": 50.0}, "rate=50 is out of range"),
        ({"ectopic": 1.5}, "ectopic=1.5 is out of range"),
        ({"noise": float("nan")}, "noise=nan is out of range"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        EcgSimulator(**options)


def test_peaks_that_do_not_reach_are_refused():
    with pytest.raises(InputError, match="peaks must increase"):
        voltages(np.array([0.5, 1.5]), PUBLISHED, np.zeros(2, int), seconds=1.0, rate=360.0)
    with pytest.raises(InputError, match="count=0"):
        rr_intervals(0, np.random.default_rng(0))


def test_the_same_patients_can_be_had_without_noise():
    """What is left out of a recording that has no noise but the wander is one sine, of the breathing."""
    for number in range(3):
        noisy = EcgSimulator(seconds=30.0, rate=100.0, noise=0.0)
        one, other = noisy.recording(number, seed=1), noisy.without_noise().recording(number, seed=1)
        assert one.events.samples.tolist() == other.events.samples.tolist()
        assert one.events.symbols.tolist() == other.events.symbols.tolist()
        left_out = (one.signal - other.signal).astype(np.float64)
        assert np.allclose(left_out[:, 0], left_out[:, 1], atol=1e-6)
        # Of a sine x, x(t + h) + x(t - h) = 2 cos(2 pi f h) x(t); h is a second here.
        x, both = left_out[100:-100, 0], left_out[200:, 0] + left_out[:-200, 0]
        factor = (x @ both) / (x @ x)
        assert np.abs(both - factor * x).max() < 1e-5
        assert 0.18 < math.acos(factor / 2) / (2 * math.pi) < 0.32
    assert not np.allclose(
        EcgSimulator(seconds=5.0).recording(0).signal, EcgSimulator(seconds=5.0).without_noise().recording(0).signal
    )
