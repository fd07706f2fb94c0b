"""What the Data Lake store asks and writes."""
