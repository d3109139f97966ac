"""The space of interfaces."""
