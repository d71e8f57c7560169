"""Who is near whom among particles."""
