"""Sets of any size: from a folder to a cluster."""
