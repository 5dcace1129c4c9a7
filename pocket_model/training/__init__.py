"""How the pocket model is made, one stage a module; `pocket_model.train` runs them in order."""
