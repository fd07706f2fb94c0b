"""What a dataset is made of: paths that users write, the definition kept in the catalog, and its frozen manifest."""
