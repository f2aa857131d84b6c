"""Plug-ins for memobert_plugin that live in a package of their own."""
