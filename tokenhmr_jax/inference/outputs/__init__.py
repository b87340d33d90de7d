"""Files of a result."""
