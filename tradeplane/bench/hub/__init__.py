"""`script/bench hub`: what a crowd of candidates costs the hub, and what a whole market does."""
