"""What a run leaves behind: records, tables, figures, the report."""
