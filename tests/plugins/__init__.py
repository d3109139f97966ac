"""Plug-ins that only tests use, through campaigns and `module:Class` names, as a user's own code would be."""
