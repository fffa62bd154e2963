"""Commands beside the four tasks: one module a command, and what some of them share."""
