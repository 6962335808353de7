"""What a run found, in the forms that others read."""
