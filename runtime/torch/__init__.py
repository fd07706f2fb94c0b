"""What training with PyTorch takes from a dataset: `images` makes items out of labelled ones.

torch is met in this room only, and is imported when an item is asked for.
"""
