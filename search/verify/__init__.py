"""What the knobs really do, on small pipelines of each kind, against what the table of rules says."""
