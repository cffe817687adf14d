"""Networks and observation models for training; importing this package imports no torch."""
