"""The main job on real input, told as a story."""
