"""What a run recommends at its end, and how far its models can be trusted."""
