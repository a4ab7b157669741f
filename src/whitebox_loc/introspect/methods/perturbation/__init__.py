"""Maps from images with parts hidden: windows, random masks, segments."""
