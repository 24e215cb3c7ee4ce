"""Waveforms: the pieces that are learned from, the networks, the filters beside them, beats and their scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.apps.medical.waveforms.data import WaveformData
from integrand.apps.medical.waveforms.denoising_baselines import band_pass, improvement, savitzky_golay, wavelet, wiener
from integrand.apps.medical.waveforms.denoising_evaluation import piece_sums, scores
from integrand.apps.medical.waveforms.matching import (
    THRESHOLDS,
    heart_rates,
    matched,
    matches_by_threshold,
    pick_beats,
)
from integrand.apps.medical.waveforms.models.sequence_networks import LinOSSWaveform, MambaWaveform, S5Waveform
from integrand.apps.medical.waveforms.models.unet_waveform import UNetWaveform
from integrand.apps.medical.waveforms.models.waveform_network import WaveformNetwork
from integrand.apps.medical.waveforms.module import Z_90, BeatDetectionModule, DenoisingModule
from integrand.apps.medical.waveforms.patient_bootstrap import compared
from integrand.apps.medical.waveforms.pieces import PEAK_SECONDS, WaveformPieces, bumps
from integrand.apps.medical.waveforms.reading import read
from integrand.apps.medical.waveforms.sources import Lead
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.waveform_noise import Corruption

RATE = 125.0
SEQUENCES: list[tuple[type[WaveformNetwork], dict]] = [
    (S5Waveform, {"width": 8, "d_state": 8, "layers": 2}),
    (LinOSSWaveform, {"width": 8, "d_state": 8, "layers": 2}),
    (MambaWaveform, {"width": 8, "d_state": 4, "layers": 2}),
]
NETWORKS: list[tuple[type[WaveformNetwork], dict]] = [*SEQUENCES, (UNetWaveform, {"levels": 3})]


def small(**options) -> WaveformData:
    return WaveformData(**{"patients": 10, "recorded": 20.0, "seconds": 4.0, "batch_size": 8} | options)


@pytest.fixture(scope="module")
def simulated() -> WaveformData:
    data = small()
    data.setup()
    return data


# --- data -------------------------------------------------------------------------------------------------------------


def test_no_patient_is_in_two_parts(simulated: WaveformData):
    patients = [{lead.patient for lead in simulated.whole(part)} for part in PARTS]
    assert sum(len(part) for part in patients) == len(set.union(*patients)) == 10


def test_the_target_is_the_signal_of_the_simulator_without_its_noise(simulated: WaveformData):
    lead = simulated.whole("test")[0]
    number = int(lead.patient.rpartition("_")[2])
    clean = EcgSimulator(seconds=20.0).without_noise().recording(number, seed=0)
    assert np.allclose(lead.signal, clean.resampled(RATE).signal[:, 0])
    assert simulated.task.simulated
    assert "simulated: no patient was measured" in simulated.notices


def test_noise_has_the_ratio_that_is_told(simulated: WaveformData):
    batch = simulated.part("test").__getitems__([0, 1, 2, 3])
    assert batch.snr.min() >= 0
    assert batch.snr.max() <= 18
    lead, (number, start) = simulated.whole("test")[0], simulated.part("test").of[0]
    assert number == 0
    assert np.array_equal(batch.clean[0].numpy(), lead.signal[start : start + 500])
    quiet = small(gaps=0.0)
    quiet.setup()
    batch = quiet.part("test").__getitems__([0, 1, 2, 3])
    noise = (batch.signal - batch.clean).double()
    ratio = 10 * torch.log10(batch.clean.double().var(1, correction=0) / noise.square().mean(1))
    assert torch.allclose(ratio, batch.snr.double(), atol=1e-3)


def test_only_training_draws_anew(simulated: WaveformData):
    train, test = simulated.part("train"), simulated.part("test")
    assert not torch.equal(train[0].signal, train[len(train)].signal)
    assert torch.equal(test[0].signal, test[len(test)].signal)
    other = small(seed=1)
    other.setup()
    assert torch.equal(other.part("test")[0].signal, test[0].signal)
    assert not torch.equal(other.part("train")[0].signal, train[0].signal)
    assert other.split.hash == simulated.split.hash


def test_five_minutes_are_split_in_time_with_a_guard():
    data = WaveformData("ecg_five_minutes", guard=5.0)
    data.setup()
    lengths = [len(data.whole(part)[0].signal) / RATE for part in PARTS]
    assert lengths == pytest.approx([0.6 * 300 - 5, 0.15 * 300 - 5, 0.25 * 300], abs=0.02)
    # Every block is where it was cut, so that between two lie five seconds.
    whole = np.concatenate([data.whole(part)[0].signal for part in PARTS])
    assert len(whole) == round((300 - 10) * RATE)
    assert any("counts as clean" in notice for notice in data.notices)
    beats = sum(len(data.whole(part)[0].beats) for part in PARTS)
    assert 509 - 25 <= beats < 509  # some lie in the guards


def test_a_beat_is_a_bump_of_one():
    lead = Lead("a", "a", "II", np.zeros(300, "f4"), np.ones(300, bool), np.array([50, 52, 250]), RATE, True)
    found = bumps(lead)
    assert np.flatnonzero(found == 1).tolist() == [50, 52, 250]
    assert found[253] == pytest.approx(np.exp(-0.5 * (3 / (PEAK_SECONDS * RATE)) ** 2))
    assert found[100:200].max() == 0


def test_what_is_not_usable_is_in_no_piece():
    signal, usable = np.sin(np.arange(2000) / 9).astype("f4"), np.ones(2000, bool)
    usable[900:1000] = False
    lead = Lead("a", "a", "II", signal, usable, np.zeros(0, int), RATE, False)
    for moving in (False, True):
        pieces = WaveformPieces([lead], Corruption(), seconds=2.0, moving=moving, seed=0, where="train")
        batch = pieces.__getitems__(list(range(3 * len(pieces))))
        flat = torch.from_numpy(signal).unfold(0, 250, 1)
        starts = [int((flat == row).all(1).nonzero()[0]) for row in batch.clean]
        assert all(start + 250 <= 900 or start >= 1000 for start in starts)
    with pytest.raises(InputError, match="the test part has no piece of 10 s"):
        WaveformPieces([lead], Corruption(), seconds=10.0, moving=False, seed=0, where="test")


def write_records(folder: Path, *signals: np.ndarray) -> None:
    wfdb = pytest.importorskip("wfdb")
    for number, signal in enumerate(signals):
        wfdb.wrsamp(
            f"r{number}", fs=250, units=["mV"], sig_name=["II"], p_signal=signal[:, None].astype(float), fmt=["16"],
            write_dir=str(folder),
        )  # fmt: skip
        beats = np.arange(100, len(signal), 200)
        wfdb.wrann(f"r{number}", "atr", beats, symbol=["N"] * len(beats), fs=250, write_dir=str(folder))


def test_a_folder_of_records_is_read_and_one_signal_of_two_patients_refused(tmp_path: Path):
    made = [each.signal[:, 0] for each in EcgSimulator(seconds=12.0, rate=250.0).recordings(4)]
    write_records(tmp_path, *made)
    data = small(dataset=str(tmp_path), goal="detection", gaps=0.0, fractions=(0.5, 0.25, 0.25))
    data.setup()
    assert sorted(lead.id for part in PARTS for lead in data.whole(part)) == ["r0", "r1", "r2", "r3"]
    assert data.whole("test")[0].beats.tolist() == np.rint(np.arange(100, 3000, 200) / 2).astype(int).tolist()
    write_records(tmp_path, *made[:3], made[0])
    with pytest.raises(InputError, match="recordings r0 and r3 are one signal under the names of two patients"):
        small(dataset=str(tmp_path), goal="detection").setup()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dataset": "simulated_eeg"}, "did you mean 'simulated_ecg'"),
        ({"dataset": "mit_bih", "protocol": "inter"}, "unknown protocol of mit_bih"),
        ({"seconds": 30.0}, r"data.recorded=20.0 is out of range"),
        ({"leads": ["V9"]}, "no lead 'V9'"),
        ({"rate": 100.0}, "mains of"),
        ({"dataset": "ecg_five_minutes", "guard": 80.0}, "part is shorter than data.guard=80 s"),
    ],
)
def test_data_that_cannot_be_had_are_refused(options: dict, said: str):
    with pytest.raises(InputError, match=said) as refused:
        small(**options).part("test")[0]
    assert "\n" not in str(refused.value)


# --- networks ---------------------------------------------------------------------------------------------------------


def built(kind: type[WaveformNetwork], options: dict, goal: str = "denoising") -> WaveformNetwork:
    """Return a network for 125 Hz whose last layer says something."""
    torch.manual_seed(0)
    network = kind(**options)
    network.build(WaveformTask(goal, RATE, 4.0, ["II"], True))
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def wave(rate: float, seconds: float = 4.0) -> np.ndarray:
    """A signal without anything above 8 Hz, sampled at the middle of each interval."""
    t = (np.arange(round(seconds * rate)) + 0.5) / rate
    return np.sin(2 * np.pi * 1.1 * t) + 0.4 * np.sin(2 * np.pi * 5 * t + 1) + 0.2 * np.cos(2 * np.pi * 8 * t)


def batch_of(signal: np.ndarray, rate: float = RATE, observed: np.ndarray | None = None) -> WaveformBatch:
    rows = torch.from_numpy(np.atleast_2d(signal)).float()
    seen = torch.ones_like(rows, dtype=torch.bool) if observed is None else torch.from_numpy(np.atleast_2d(observed))
    return WaveformBatch(rows, seen, rows, torch.zeros_like(rows), torch.zeros(len(rows)), rate)


@pytest.mark.parametrize(("kind", "options"), NETWORKS, ids=lambda each: getattr(each, "__name__", ""))
def test_offset_and_gain_have_no_say(kind: type[WaveformNetwork], options: dict):
    """The answer to a + b x is a + b times the answer to x, but for the least deviation that an answer has."""
    network, x = built(kind, options), wave(RATE)
    with torch.no_grad():
        one, other = network(batch_of(x)), network(batch_of(40 * x - 300))
    assert (one.mean - torch.from_numpy(x)).abs().max() > 0.05  # it says something
    assert torch.allclose(40 * one.mean - 300, other.mean, atol=0.02)
    assert torch.allclose(40 * (one.std - 1e-3), other.std - 1e-3, atol=0.02)


@pytest.mark.parametrize(
    ("kind", "options"),
    [each for each in SEQUENCES if each[0].any_rate],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_another_rate_is_another_step_of_the_same_equation(kind: type[WaveformNetwork], options: dict):
    """A network made for 125 Hz answers at 250 and 500 Hz ever nearer to the function that it answers at 2000 Hz."""
    network, rates = built(kind, options), (125.0, 250.0, 500.0, 2000.0)
    answers = []
    for rate in rates:
        with torch.no_grad():
            found = network(batch_of(wave(rate), rate)).mean[0].numpy()
        fold = round(rate / 125)
        answers.append(found.reshape(-1, fold).mean(1))  # about the middles of the coarsest samples
    moved = np.abs(answers[-1] - wave(RATE)).mean()
    errors = [np.abs(each - answers[-1]).mean() for each in answers[:-1]]
    assert errors[0] < 0.05 * moved
    assert errors[1] < 0.65 * errors[0]
    assert errors[2] < 0.65 * errors[1]


@pytest.mark.parametrize(("kind", "options"), NETWORKS, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.parametrize("goal", ["denoising", "detection"])
def test_what_stands_in_a_gap_is_not_seen_and_every_parameter_learns(
    kind: type[WaveformNetwork], options: dict, goal: str
):
    network, x = built(kind, options, goal), wave(RATE)
    observed = np.ones(len(x), bool)
    observed[100:150] = False
    one, other = (network(batch_of(np.where(observed, x, held), observed=observed)) for held in (0.0, 7.0))
    if goal == "denoising":
        assert torch.equal(one.mean, other.mean)
        (one.mean.square().sum() + one.std.square().sum()).backward()
    else:
        assert torch.equal(one.beat, other.beat)
        one.beat.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("seconds", [3.0, 20.0, 20.008, 61.7])
def test_a_recording_of_any_length_is_read_sample_by_sample(seconds: float):
    """A network at its start gives the signal back, so that what is joined of windows is the signal itself."""
    module = DenoisingModule(S5Waveform(width=8, d_state=8, layers=1))
    module.build_networks(WaveformTask("denoising", RATE, 4.0, ["II"], True))
    x = wave(RATE, seconds)
    x[200:260] = np.nan
    found = read(module, x, RATE)
    assert found.mean.shape == x.shape
    there = np.isfinite(x)
    assert np.allclose(found.mean[there], x[there], atol=1e-5)
    assert np.isfinite(found.mean).all()


def test_a_network_that_is_bound_to_a_rate_reads_another_through_it():
    module = DenoisingModule(UNetWaveform(levels=2))
    module.build_networks(WaveformTask("denoising", RATE, 4.0, ["II"], True))
    fast = np.sin(2 * np.pi * 3 * np.arange(3000) / 500)
    found, own = read(module, fast, 500.0), read(module, fast[::4], RATE)
    assert found.mean.shape == (3000,)
    # Every fourth sample is one of the lower rate, but for the ends, which resampling holds.
    assert np.abs(found.mean[::4] - own.mean)[50:-50].max() < 0.01


def test_the_band_is_scaled_to_hold_what_it_says(simulated: WaveformData):
    """After validation nine tenths of the validation part lie within the band, whatever the network said of it."""
    torch.manual_seed(0)
    module = DenoisingModule(S5Waveform(width=8, d_state=8, layers=1))
    trainer = Trainer(
        max_epochs=1, limit_train_batches=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, simulated)
    part = simulated.part("validation")
    batch = part.__getitems__(list(range(len(part))))
    with torch.no_grad():
        answer = module.eval()(batch)
        raw = module.network(batch)
    within = ((answer.mean - batch.clean).abs() <= Z_90 * answer.std).float().mean()
    before = ((raw.mean - batch.clean).abs() <= Z_90 * raw.std).float().mean()
    assert abs(float(within) - 0.9) < 0.02
    assert abs(float(before) - 0.9) > 0.03


def test_a_module_refuses_the_other_goal():
    module = BeatDetectionModule(S5Waveform())
    with pytest.raises(InputError, match=r"data.goal='denoising' is not what this task learns"):
        module.build_networks(WaveformTask("denoising", RATE, 4.0, ["II"], True))


@pytest.mark.parametrize(("module", "goal"), [(DenoisingModule, "denoising"), (BeatDetectionModule, "detection")])
def test_the_loss_falls(module: Any, goal: str, simulated: WaveformData):
    torch.manual_seed(0)
    made = module(S5Waveform(width=16, d_state=16, layers=2))
    made.build_networks(WaveformTask(goal, RATE, 4.0, ["II"], True))
    batch = simulated.part("train").__getitems__(list(range(8)))
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss, _ = made.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


# --- filters ----------------------------------------------------------------------------------------------------------


def test_filters_do_what_they_are_for():
    t = np.arange(10_000) / RATE
    slow, heart, fast = (np.sin(2 * np.pi * f * t)[None] for f in (0.1, 8.0, 55.0))
    passed = band_pass((0.5, 25.0))(slow + heart + fast, RATE)
    assert np.abs(passed - heart)[:, 300:-300].max() < 0.05
    cubic = (t**3 - 20 * t**2 + t)[None]
    assert np.allclose(savitzky_golay(0.08)(cubic, RATE), cubic, atol=1e-6)


def test_wavelets_leave_a_signal_without_a_threshold_and_take_noise_with_one():
    pytest.importorskip("pywt")
    heart = np.sin(2 * np.pi * 3 * np.arange(2000) / RATE)[None]
    assert np.allclose(wavelet((0.0, False))(heart, RATE), heart, atol=1e-9)
    # The threshold is what the largest of so many normal numbers stays below; what is left are the 30 coarsest.
    noise = np.random.default_rng(0).standard_normal((1, 2000))
    assert np.mean(wavelet((1.0, False))(noise, RATE) ** 2) < 0.04
    assert np.mean(wavelet((1.0, True))(noise, RATE) ** 2) < 0.02


def test_the_linear_filter_errs_as_little_as_the_theory_says():
    """Of a signal in a band of a quarter of all frequencies and white noise: S_c S_n / (S_c + S_n) summed over it."""
    generator = np.random.default_rng(0)
    spectrum = np.fft.rfft(generator.standard_normal((64, 1024)), axis=1)
    spectrum[:, 129:] = 0
    clean = np.fft.irfft(spectrum, 1024, axis=1)
    clean /= clean.std()
    noisy = clean + 0.5 * generator.standard_normal(clean.shape)
    signal, observed, target = (torch.from_numpy(x) for x in (noisy, np.ones_like(clean, dtype=bool), clean))
    batch = WaveformBatch(signal, observed, target, torch.zeros(64, 1024), torch.zeros(64), RATE)
    found = wiener(batch)(noisy, RATE)
    # In the band the signal has the power 4 of its own mean, the noise 0.25: what is left of the noise.
    left = 0.25 * (4 * 0.25 / (4 + 0.25))
    assert np.mean((found - clean) ** 2) == pytest.approx(left, rel=0.06)
    assert improvement(found, batch).mean() == pytest.approx(10 * np.log10(0.25 / left), abs=0.3)


def test_scores_of_pieces_are_what_they_say():
    """Half of the noise is 6.02 dB; the band of a known error holds what a normal distribution says."""
    generator = np.random.default_rng(0)
    clean = np.sin(np.arange(4000) / 10)[None].repeat(2, 0)
    noise = 0.3 * generator.standard_normal(clean.shape)
    observed = np.ones_like(clean, dtype=bool)
    observed[:, :1000] = False
    batch = WaveformBatch(
        torch.from_numpy(np.where(observed, clean + noise, 0)), torch.from_numpy(observed), torch.from_numpy(clean),
        torch.zeros(2, 4000), torch.zeros(2), RATE,
    )  # fmt: skip
    found = clean + noise / 2
    own = scores(piece_sums(found, np.full(clean.shape, 0.15), batch).sum(0))
    assert own["improvement"] == pytest.approx(20 * np.log10(2), abs=1e-9)
    assert own["rmse"] == pytest.approx(np.sqrt(np.mean((noise / 2)[:, 1000:] ** 2, axis=1)).mean())
    assert own["gap_rmse"] == pytest.approx(np.sqrt(np.mean((noise / 2)[:, :1000] ** 2)))
    assert own["prd"] == pytest.approx(100 * 0.15 / np.sqrt(0.5), rel=0.03)
    assert own["coverage"] == pytest.approx(0.9, abs=0.02)


# --- beats ------------------------------------------------------------------------------------------------------------


def test_beats_are_the_peaks_above_the_threshold():
    bump = np.exp(-0.5 * (np.arange(-60, 61) / 4) ** 2)
    probability = np.concatenate([bump, 0.4 * bump, bump, bump[:61]])
    assert pick_beats(probability, RATE, 0.5).tolist() == [60, 302, 423]
    assert pick_beats(probability, RATE, 0.3).tolist() == [60, 181, 302, 423]
    near = np.zeros(100)
    near[[40, 50]] = 0.9, 0.8  # 80 ms apart: no heart beats so soon
    assert pick_beats(near, RATE, 0.5).tolist() == [40]


def test_beats_match_within_the_window_and_each_once():
    pytest.importorskip("wfdb")
    marked = np.array([100, 300, 500, 700])
    assert matched(marked, marked, RATE) == 4
    assert matched(marked, marked + 18, RATE) == 4  # 144 ms
    assert matched(marked, marked + 20, RATE) == 0  # 160 ms
    assert matched(marked, np.array([95, 105, 300]), RATE) == 2
    assert matched(marked, np.zeros(0, int), RATE) == 0


def test_thresholds_count_beats_that_are_said_marked_and_right():
    pytest.importorskip("wfdb")
    lead = Lead("a", "a", "II", np.zeros(1000, "f4"), np.ones(1000, bool), np.array([100, 400, 800]), RATE, True)
    bump = bumps(lead)
    probability = bump.copy()
    probability[350:450] *= 0.42  # the second is half believed
    probability[600] = 0.33  # and one is not there
    counts = matches_by_threshold(probability[None], bump[None], RATE)
    table = {threshold: tuple(row) for threshold, row in zip(THRESHOLDS, counts, strict=True)}
    assert table[0.3] == (3, 4, 3)
    assert table[0.4] == (3, 3, 3)
    assert table[0.5] == (2, 2, 3)


def test_a_steady_heart_has_its_rate_in_every_window():
    assert heart_rates(np.arange(10, 5000, 100), RATE, 5000).tolist() == [75.0] * 4
    rates = heart_rates(np.array([10, 110, 1300]), RATE, 2600)
    assert rates.tolist() == [75.0, 0.0]


def test_intervals_by_patient_are_those_of_the_theory():
    """The mean of many patients has a normal distribution of deviation s / sqrt(G)."""
    generator = np.random.default_rng(0)
    ones = np.ones(400)
    sums = {
        "a": np.stack([generator.normal(2, 1, 400), ones], 1),
        "b": np.stack([generator.normal(4, 1, 400), ones], 1),
    }
    made = compared("a", sums, lambda s: {"mean": s[..., 0] / s[..., 1]}, higher=[])
    low, high = made["intervals"]["a"]["mean"]
    spread = sums["a"][:, 0].std() / 20
    assert made["metrics"]["a"]["mean"] == pytest.approx(sums["a"][:, 0].mean())
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.08)
    gain = made["gains"]["b"]["mean"]
    assert gain["gain"] == pytest.approx(1 - sums["a"][:, 0].mean() / sums["b"][:, 0].mean())
    assert gain["low"] < gain["gain"] < gain["high"]
    better = compared("a", sums, lambda s: {"mean": s[..., 0] / s[..., 1]}, higher=["mean"])
    assert better["gains"]["b"]["mean"]["gain"] == pytest.approx(-gain["gain"])


def test_a_patient_with_many_pieces_counts_as_one():
    """Drawn by patient, an interval is as wide as that of two patients, however many pieces they have."""
    sums = {"a": np.array([[100.0, 100.0], [300.0, 100.0]])}
    made = compared("a", sums, lambda s: {"mean": s[..., 0] / s[..., 1]}, higher=[])
    assert made["intervals"]["a"]["mean"] == [1.0, 3.0]
