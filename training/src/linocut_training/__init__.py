"""The recipe that trains linocut-mini: pictograms in, a tiny checkpoint out."""
