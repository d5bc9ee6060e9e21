"""Which columns and rows become turns: field detection, roles, pairs, conversation rules."""
