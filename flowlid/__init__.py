"""Normalizing flows on spliced filterbanks, to identify languages and accents."""

__version__ = "0.1.0"
