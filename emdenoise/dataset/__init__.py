"""The canonical data: records, their file, splits, tiles, batches, and their description for other programs."""
