"""From words to the context that the transformer attends to."""
