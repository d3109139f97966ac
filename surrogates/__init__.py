"""Property surrogates and potentials: plug-ins of invdesign, found through entry points."""
