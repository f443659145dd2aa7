"""The planner: how fast a layout runs and what it needs, which layouts a cluster can run, and which is best."""
