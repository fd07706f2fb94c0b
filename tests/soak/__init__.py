"""The soak: readers that check every byte of real mounts, while seeded injectors harm all that mounts depend on."""
