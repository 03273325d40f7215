"""Command line, files, images and devices: what every package uses."""
