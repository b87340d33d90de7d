"""Boxes and 2D keypoints of a frame's people."""
