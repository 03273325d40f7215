"""The commands of `python -m p2p`, doors like `__main__.py`: they read flags, call, and save."""
