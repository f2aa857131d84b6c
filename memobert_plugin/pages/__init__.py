"""Templates, styles and drawings shared by all HTML pages."""
