"""Feature sets: numbers computed from compositions, cells, crystals and electrodes."""
