"""Settings of a run: what they are (`schema`, `architectures`) and how a file becomes them (`loading`)."""
