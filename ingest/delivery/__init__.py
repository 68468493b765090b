"""What arrives: files found, archives unpacked within bounds, names as they may be shown."""
