"""Pictures and videos as frames."""
