"""Numbers of a run and of many: metrics, tables, figures."""
