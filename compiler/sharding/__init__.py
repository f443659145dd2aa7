"""The search for placements: which way each op runs on an axis of the mesh, and where values change their type."""
