"""Source files: one reader a format; `source_reader` is the way in."""
