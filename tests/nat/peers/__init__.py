"""One program for each stack, which all speak the same lines of JSON."""
