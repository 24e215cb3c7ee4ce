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
            figures="integrand.apps.medical.beats.figures:draw",
            predict="integrand.apps.medical.beats.prediction:predict",
            reads="a record of WFDB or EDF",
            writes="annotations of WFDB or a CSV, and a figure",
            product="annotations",
            stream="integrand.apps.medical.beats.streaming:stream",
        ),
    ),
)
