"""Classical methods, tuned on validation images."""
