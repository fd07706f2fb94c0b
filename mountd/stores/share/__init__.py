"""What the file share store asks and writes."""
