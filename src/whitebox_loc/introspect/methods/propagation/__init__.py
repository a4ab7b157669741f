"""Relevance passed back layer by layer: LRP by rules, and DeepLIFT."""
