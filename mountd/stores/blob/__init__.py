"""Listings of Azure blobs: requests, pages, ranges of names."""
