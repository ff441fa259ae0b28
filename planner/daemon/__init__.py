"""The daemon: the plan for now, for every app on this machine that asks over HTTP."""
