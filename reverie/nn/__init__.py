"""What families and policies share: layers with parameters but without time, and their files."""
