"""The pages that the daemon serves. Each has a JSON twin under `/v1`."""
