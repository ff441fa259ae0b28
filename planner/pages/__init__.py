"""What was found out, as pages for people: the report in one file, and what the daemon shows."""
