"""Named by fuzzed world files; nobody runs it."""
