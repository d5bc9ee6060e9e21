"""Everything that decides the bytes of a set, without Beam."""
