"""The commands of `python -m ddim`, doors like `__main__.py`: they read flags, call, and save."""
