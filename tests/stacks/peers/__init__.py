"""Programs in several languages that are peers of a measurement or of a test; README.md has their protocols."""
