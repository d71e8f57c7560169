"""How far is a point from a tool? As kernels; see `reverie.physics.tools` for the same in torch."""
