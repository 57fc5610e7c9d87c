"""What maintainers run: versions side by side, checks before a release, the image's steps."""
