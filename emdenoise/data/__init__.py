"""Everything up to the arrays that models train on: sources, simulation, the canonical files, batches."""
