"""Losses and summable counts that fairseq trains with."""
