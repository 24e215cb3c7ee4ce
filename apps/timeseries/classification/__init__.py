"""Classification: which of several kinds an irregular, partly observed series is, as probabilities."""
