"""Mail templates: the starters, and immutable compiled versions."""
