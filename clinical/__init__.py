"""Medicine: tasks, mappings and the demo ward, as data and small functions."""
