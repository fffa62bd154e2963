"""Files on disk: reading micrographs, writing whole files or none, locks. Knows nothing of networks or sources."""
