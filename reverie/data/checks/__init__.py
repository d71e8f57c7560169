"""What may be wrong with recorded data? One file for each kind of thing that is looked at."""
