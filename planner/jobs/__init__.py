"""Jobs: tuning, verifying and measuring again, one after the other, by processes that outlive no daemon."""
