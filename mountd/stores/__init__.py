"""Where bytes come from, one module a service."""
