"""Notes in any language: sections, negation and family history, tokens."""
