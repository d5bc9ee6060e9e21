"""Content hashes, and which of exact and near copies stays."""
