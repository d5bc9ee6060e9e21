"""Beam wiring only, one file a stage, in the data's order: read, scan, … commit."""
