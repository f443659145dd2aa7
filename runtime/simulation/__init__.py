"""Runs the ranks of a program one by one, without memory or network, and compares what they would have said."""
