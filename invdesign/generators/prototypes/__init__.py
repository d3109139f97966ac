"""Known crystals with other elements: the generator `prototypes`."""
