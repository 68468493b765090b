"""The surfaces for machines: the `telltale` command line."""
