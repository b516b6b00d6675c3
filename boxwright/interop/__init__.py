"""Configs and checkpoints of every known program as plain data: a room for each source, and what they share."""
