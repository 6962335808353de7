"""Wires the rig's pytest plugin; nothing else."""

pytest_plugins = ["ringrig.plugin"]
