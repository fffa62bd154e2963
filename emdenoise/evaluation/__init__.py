"""How results are judged: metrics, atoms, classical methods and their tuning, statistics, speed."""
