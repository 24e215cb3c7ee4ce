"""Medical signals: heart beats, intensive care, with patients kept apart. For research only."""

from integrand.apps.application import Application, Task

_BEATS_IN = "integrand.apps.medical.beats.models"
BEAT_NETWORKS = {
    "s5": ("beat_network:S5BeatNetwork", "convolutions see each beat, S5 steps from beat to beat by RR (default)"),
    "linoss": ("rhythm_networks:LinOSSBeatNetwork", "the same with forced oscillators in S5's place"),
    "lru": ("rhythm_networks:LRUBeatNetwork", "the same with linear recurrent units"),
    "mamba": ("rhythm_networks:MambaBeatNetwork", "the same with selective layers"),
    "cfc": ("rhythm_networks:CfCBeatNetwork", "the same with closed-form continuous-time layers, one beat at a time"),
    "ecg_ode": ("ecg_ode:EcgOdeBeatNetwork", "each beat told by the waves of McSharry's equation; S5 on them"),
    "log_ncde": ("log_ncde:LogNCDEBeatNetwork", "a log neural CDE reads each beat's samples, S5 the rhythm; slow"),
    "resnet": ("resnet:ResNetBeatNetwork", "residual convolutions on each beat by itself, with its RR features"),
}
"""Networks that name heart beats: file and class, and a line on each."""

_STAYS_IN = "integrand.apps.medical.icu.models"
STAY_NETWORKS = {
    "s5": ("stay_networks:S5Stays", "S5 over the hours, beside a regression on summaries (default)"),
    "cfc": ("stay_networks:CfCStays", "CfC: a closed form of liquid time constants, beside the same"),
    "latent_ode": ("stay_networks:LatentODEStays", "a latent ODE that explains the record, beside the same"),
    "latent_sde": ("stay_networks:LatentSDEStays", "a latent SDE that explains the record, beside the same"),
    "neural_cde": ("stay_networks:NeuralCDEStays", "a neural CDE driven by the record, beside the same"),
    "mamba": ("stay_networks:MambaStays", "Mamba: state spaces that choose what they remember, beside the same"),
    "linoss": ("stay_networks:LinOSSStays", "LinOSS: forced harmonic oscillators, beside the same"),
    "gru_d": ("stay_networks:GRUDStays", "GRU-D: a GRU whose inputs and memory decay, beside the same (a peer)"),
    "mtan": ("stay_networks:MTANStays", "attention at reference times, beside the same (a peer)"),
}
"""Networks that read stays in intensive care: file and class, and a line on each."""

_WAVEFORMS_IN = "integrand.apps.medical.waveforms"
WAVEFORM_NETWORKS = {
    "s5": ("sequence_networks:S5Waveform", "S5 layers in both directions, a step the time between samples (default)"),
    "linoss": ("sequence_networks:LinOSSWaveform", "forced oscillators in both directions"),
    "mamba": ("sequence_networks:MambaWaveform", "Mamba layers in both directions"),
    "unet": ("unet_waveform:UNetWaveform", "1-D U-Net, bound to the rate it was trained at"),
}
"""Networks that read waveforms: file and class, and a line on each."""
_WAVEFORM_MODELS = {name: f"{_WAVEFORMS_IN}.models.{path}" for name, (path, _) in WAVEFORM_NETWORKS.items()}
_WAVEFORM_SUMMARIES = {name: summary for name, (_, summary) in WAVEFORM_NETWORKS.items()}
_SEGMENTS_IN = "integrand.apps.medical.segments.models"
SEGMENT_NETWORKS = {
    "s5": ("sequence_networks:S5SegmentNetwork", "S5 over the raw signal in both directions (default)"),
    "linoss": ("sequence_networks:LinOSSSegmentNetwork", "LinOSS likewise: forced harmonic oscillators"),
    "mamba": ("sequence_networks:MambaSegmentNetwork", "Mamba likewise: state spaces that choose what they remember"),
    "log_ncde": ("log_ncde_network:LogNCDESegmentNetwork", "Log-NCDE: driven by log-signatures of the signal"),
    "resnet": ("resnet_network:ResNetSegmentNetwork", "residual convolutions in one dimension (a peer)"),
}
"""Networks that label segments of a signal: file and class, and a line on each."""
RHYTHM_NETWORKS = {
    **SEGMENT_NETWORKS,
    "s5_intervals": ("interval_network:S5IntervalNetwork", "S5 from beat to beat by RR, which is all that it sees"),
}
"""The same, and those that see the intervals between beats alone."""

APPLICATION = Application(
    name="medical",
    summary="heart beats and intensive care, patients kept apart; for research only",
    package="integrand.apps.medical",
    tasks=(
        Task(
            name="beats",
            summary="each heart beat's class of EC57, with its probability",
            module="integrand.apps.medical.beats.module:BeatModule",
            data="integrand.apps.medical.beats.data:BeatData",
            models={name: f"{_BEATS_IN}.{path}" for name, (path, _) in BEAT_NETWORKS.items()},
            model_summaries={name: summary for name, (_, summary) in BEAT_NETWORKS.items()},
            datasets=("simulated_ecg", "mit_bih"),
            default_recipe="simulated_beats",
            evaluate="integrand.apps.medical.beats.evaluation:evaluate",
            analyze="integrand.apps.medical.beats.analysis:subject",
            figures="integrand.apps.medical.beats.figures:draw",
            predict="integrand.apps.medical.beats.prediction:predict",
            reads="a record of WFDB or EDF",
            writes="annotations of WFDB or a CSV, and a figure",
            product="annotations",
            stream="integrand.apps.medical.beats.streaming:stream",
        ),
        Task(
            name="icu",
            summary="the risk of death from records of intensive care, calibrated, hour by hour",
            module="integrand.apps.medical.icu.module:IcuModule",
            data="integrand.apps.medical.icu.data:IcuData",
            models={name: f"{_STAYS_IN}.{path}" for name, (path, _) in STAY_NETWORKS.items()},
            model_summaries={name: summary for name, (_, summary) in STAY_NETWORKS.items()},
            datasets=("physionet2012",),
            default_recipe="physionet2012_mortality",
            evaluate="integrand.apps.medical.icu.evaluation:evaluate",
            figures="integrand.apps.medical.icu.figures:draw",
            predict="integrand.apps.medical.icu.prediction:predict",
            reads="a CSV of vitals in wide or long form",
            writes="a CSV of risks with their sets, and a figure",
            product="risks",
        ),
        Task(
            name="denoising",
            summary="the clean signal of a noisy electrocardiogram, and what stood in its gaps, with a band",
            module=f"{_WAVEFORMS_IN}.module:DenoisingModule",
            data=f"{_WAVEFORMS_IN}.data:WaveformData",
            models=_WAVEFORM_MODELS,
            model_summaries=_WAVEFORM_SUMMARIES,
            datasets=("simulated_ecg", "ecg_five_minutes", "mit_bih"),
            default_recipe="simulated_denoising",
            evaluate=f"{_WAVEFORMS_IN}.denoising_evaluation:evaluate",
            figures=f"{_WAVEFORMS_IN}.denoising_figures:draw",
            predict=f"{_WAVEFORMS_IN}.prediction:denoise",
            reads="a record of WFDB or EDF, or a CSV with a column of times",
            writes="the clean signal of each lead with its deviation as a CSV, and a figure",
            product="signals",
        ),
        Task(
            name="beat_detection",
            summary="where the beats of a noisy electrocardiogram are, and the heart rate",
            module=f"{_WAVEFORMS_IN}.module:BeatDetectionModule",
            data=f"{_WAVEFORMS_IN}.data:WaveformData",
            models=_WAVEFORM_MODELS,
            model_summaries=_WAVEFORM_SUMMARIES,
            datasets=("mit_bih", "simulated_ecg", "ecg_five_minutes"),
            default_recipe="simulated_beat_detection",
            evaluate=f"{_WAVEFORMS_IN}.detection_evaluation:evaluate",
            figures=f"{_WAVEFORMS_IN}.detection_figures:draw",
            predict=f"{_WAVEFORMS_IN}.prediction:find_beats",
            reads="a record of WFDB or EDF, or a CSV with a column of times",
            writes="annotations of WFDB or a CSV, and a figure",
            product="beats",
        ),
        Task(
            name="rhythm",
            summary="which rhythm holds in each segment of a recording, with its probability",
            module="integrand.apps.medical.rhythm.module:RhythmModule",
            data="integrand.apps.medical.rhythm.data:RhythmData",
            models={name: f"{_SEGMENTS_IN}.{path}" for name, (path, _) in RHYTHM_NETWORKS.items()},
            model_summaries={name: summary for name, (_, summary) in RHYTHM_NETWORKS.items()},
            datasets=("simulated_ecg", "mit_bih"),
            default_recipe="simulated_rhythm",
            evaluate="integrand.apps.medical.rhythm.evaluation:evaluate",
            figures="integrand.apps.medical.rhythm.figures:draw",
            predict="integrand.apps.medical.rhythm.prediction:predict",
            reads="a record of WFDB or EDF",
            writes="a CSV of segments or annotations of WFDB, and a figure",
            product="rhythms",
        ),
        Task(
            name="diagnosis",
            summary="which findings hold in each segment of a recording, each with its probability",
            module="integrand.apps.medical.diagnosis.module:DiagnosisModule",
            data="integrand.apps.medical.diagnosis.data:DiagnosisData",
            models={name: f"{_SEGMENTS_IN}.{path}" for name, (path, _) in SEGMENT_NETWORKS.items()},
            model_summaries={name: summary for name, (_, summary) in SEGMENT_NETWORKS.items()},
            datasets=("simulated_ecg", "ptb_xl"),
            default_recipe="simulated_diagnosis",
            evaluate="integrand.apps.medical.diagnosis.evaluation:evaluate",
            figures="integrand.apps.medical.diagnosis.figures:draw",
            predict="integrand.apps.medical.diagnosis.prediction:predict",
            reads="a record of WFDB or EDF",
            writes="a CSV of segments, and a figure",
            product="findings",
        ),
    ),
)
