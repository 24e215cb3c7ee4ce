"""Networks that read a waveform sample by sample."""
