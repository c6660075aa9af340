"""Pictures of mazes and plans: arrays in, picture out."""
