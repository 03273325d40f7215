"""What measures and draws Prompt-to-Prompt: the commands of `python -m p2p`."""
