"""Bodies and cameras fitted to 2D keypoints."""
