"""The folder that `datasets.load_from_disk` reads: shards, JSON files, card, publication."""
