"""Electrocardiograms that tasks know by name, and the leads of each that are taken where none are asked for."""

from integrand.datasets.recording import ANY

SIMULATED = "simulated_ecg"
MIT_BIH = "mit_bih"
DEFAULT_LEADS = {MIT_BIH: ("MLII", ANY), SIMULATED: ("II", "V1")}
