"""Segments of signal and what holds in them: what the tasks of rhythms and of diagnoses share."""
