"""Starting the host's commands."""
