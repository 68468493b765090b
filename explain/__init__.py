"""Why: attributions over streams and their elements, with their own error."""
