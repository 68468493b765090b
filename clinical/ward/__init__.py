"""The demo ward, part by part: who lies there, how ill they are, and the files that show it."""
