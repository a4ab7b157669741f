"""Maps from legal images with one edge moved."""
