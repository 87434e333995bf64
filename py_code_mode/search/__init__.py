"""Search by meaning: texts become vectors, and the nearest ones are found together with the words they share."""
