"""EMDenoise: a benchmark of learned restoration and segmentation of electron micrographs."""

__version__ = "0.2.0"
