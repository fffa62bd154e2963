"""How a network learns: optimizer, schedule, checkpoints, early end."""
