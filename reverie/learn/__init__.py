"""How is anything fitted? The loop, the optimiser, checkpoints, the log, the device."""
