"""What must hold of campaigns, runs, folders and packages that come from somebody else."""
