"""What particles and nodes give each other."""
