"""The commands of `telltale`, one file each."""
