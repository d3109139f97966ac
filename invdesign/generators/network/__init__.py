"""Networks that make crystals on Wyckoff positions: compositions, occupied positions, geometries."""
