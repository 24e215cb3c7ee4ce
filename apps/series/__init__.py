"""Networks of irregular series, and what they are compared with: shared by time series and medical signals."""
