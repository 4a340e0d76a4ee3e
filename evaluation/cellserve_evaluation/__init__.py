"""How well cells are segmented: measures of agreement, scores of labelled images, tables and contact sheets."""
