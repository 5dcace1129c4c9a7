"""How the pocket model is made, one stage a module; `aesthetic_embeddings.pocket.train` runs them in order."""
