"""Forwards ``python -m memobert_plugin.launch.last_checkpoint`` for one release; the package is now :mod:`..sweep`."""
