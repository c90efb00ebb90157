"""One program per language, each able to be either end of a measurement; `common` has their protocol."""
