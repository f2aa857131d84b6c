"""Answer over HTTP on this machine: a page in the browser and ``POST /predict``."""
