"""Medical signals: heart beats, intensive care, with patients kept apart. For research only."""

from integrand.apps.application import Application, Task

_BEATS_IN = "integrand.apps.medical.beats.models"
BEAT_NETWORKS = {
    "s5": ("beat_network:S5BeatNetwork", "convolutions see each beat, S5 steps from beat to beat by RR (default)"),
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
