"""The template, the stylesheet and the drawings shared by all HTML pages."""
