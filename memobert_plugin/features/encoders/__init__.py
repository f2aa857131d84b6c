"""Frozen speech encoders: one file each."""
