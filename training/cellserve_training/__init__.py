"""From labelled images to networks, their size model, and the figures they reach."""
