"""Text in a model's chat format: templates, rendering, the sandbox, tokens, output columns."""
