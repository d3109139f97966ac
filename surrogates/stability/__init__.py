"""Thermodynamic stability: reference sets, hulls and electrochemical windows."""
