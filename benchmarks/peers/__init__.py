"""The same model and step written by others; each runs in a process of its own."""
