"""The daemon: wiring, jobs and the published snapshot."""
