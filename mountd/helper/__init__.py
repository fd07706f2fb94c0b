"""The helper, a worker without a device: `__main__` lives, `serving` answers, `datasets` reads, `places` has the stores."""
