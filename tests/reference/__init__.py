"""Independent, deliberately plain implementations that the tests compare the plugin with."""
