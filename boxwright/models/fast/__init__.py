"""The same numbers sooner: packed and quantised layers, Winograd's convolutions, recordings."""
