"""How the processes of a mount speak: `starting` between whoever wants one and its supervisor, `serving` below that."""
