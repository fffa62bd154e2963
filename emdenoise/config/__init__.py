"""Settings: what they are (`schema`), which names they know (`choices`), how a file becomes them (`loading`)."""
