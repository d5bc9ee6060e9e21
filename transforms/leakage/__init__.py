"""Prompts near validation's, and contamination by evaluation sets."""
