"""Registered models and their architectures."""
