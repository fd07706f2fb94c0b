"""What torch reads: datasets of rows. torch itself is imported by the modules in here, and nowhere else."""
