"""EMDenoise: a benchmark of learned restoration and segmentation of electron micrographs."""

__version__ = "0.1.0"
