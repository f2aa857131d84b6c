"""Corpora: one reader each, from the files as their publisher ships them to manifest rows.

``python -m memobert_plugin.corpora CORPUS FOLDER --output manifest.tsv`` writes a corpus's manifest.
"""
